-- Every answer to a query says whether something of it is not kept as it came.
CREATE INDEX instance_not_kept ON instance (series_pk) WHERE kept <> 'object';

-- Attributes and stored values of what is not kept as it came, whatever its transfer syntax.
ALTER TABLE instance ADD COLUMN content_sha256 TEXT;

-- A hidden instance of which a reduced copy is kept keeps it.
ALTER TABLE removed_instance
    ADD COLUMN kept TEXT DEFAULT 'object' NOT NULL,
    ADD COLUMN content_sha256 TEXT,
    ADD CONSTRAINT removed_instance_kept_known CHECK (kept IN ('object', 'reduced'));
