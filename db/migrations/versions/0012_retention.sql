-- What is kept of an object: the object as received, a reduced copy, or nothing but regions and embeddings.
ALTER TABLE instance
    ADD COLUMN kept TEXT DEFAULT 'object' NOT NULL,
    ADD CONSTRAINT instance_kept_known CHECK (kept IN ('object', 'reduced', 'nothing'));
ALTER TABLE instance_version
    ADD COLUMN kept TEXT DEFAULT 'object' NOT NULL,
    ADD CONSTRAINT instance_version_kept_known CHECK (kept IN ('object', 'reduced', 'nothing'));

-- What is kept of what an AE sends, and for how many days; null: as the settings say.
ALTER TABLE peer
    ADD COLUMN storage TEXT,
    ADD COLUMN keep_days INTEGER,
    ADD CONSTRAINT peer_storage_known CHECK (storage IN ('keep', 'reduced', 'regions')),
    ADD CONSTRAINT peer_keep_days CHECK (keep_days >= 0);

-- Objects that no row speaks of any more: their files are removed once that is safe.
CREATE TABLE object_removal (
    storage_key TEXT NOT NULL,
    asked_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (storage_key)
);
