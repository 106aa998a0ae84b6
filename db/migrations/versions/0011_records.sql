-- Instances that were taken out of the archive, and patients that were merged or corrected.

CREATE TABLE removed_instance (
    sop_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    why TEXT NOT NULL,
    again TEXT NOT NULL,
    for_good BOOLEAN DEFAULT false NOT NULL,
    note_uid TEXT DEFAULT '' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    removed_by TEXT NOT NULL,
    removed_at timestamptz DEFAULT now() NOT NULL,
    sop_class_uid TEXT DEFAULT '' NOT NULL,
    transfer_syntax_uid TEXT DEFAULT '' NOT NULL,
    storage_key TEXT DEFAULT '' NOT NULL,
    sha256 TEXT DEFAULT '' NOT NULL,
    size_bytes BIGINT DEFAULT 0 NOT NULL,
    source_ae TEXT DEFAULT '' NOT NULL,
    source_address TEXT DEFAULT '' NOT NULL,
    called_ae TEXT DEFAULT '' NOT NULL,
    objects_left TEXT[] DEFAULT '{}' NOT NULL,
    PRIMARY KEY (sop_instance_uid),
    CONSTRAINT removed_instance_why_known
        CHECK (why IN ('deleted', 'gone', 'note', 'quality', 'safety', 'worklist', 'retention')),
    CONSTRAINT removed_instance_again_known CHECK (again IN ('accept', 'hide', 'refuse')),
    CONSTRAINT removed_instance_kept CHECK ((storage_key = '') = (sha256 = ''))
);
CREATE INDEX removed_instance_study ON removed_instance (study_instance_uid);
CREATE INDEX removed_instance_object ON removed_instance (storage_key) WHERE storage_key <> '';
CREATE INDEX removed_instance_left ON removed_instance (removed_at) WHERE objects_left <> '{}';

ALTER TABLE study ADD COLUMN known_as TEXT[] DEFAULT '{}' NOT NULL;
ALTER TABLE patient ADD COLUMN corrected_at timestamptz;

CREATE TABLE merged_patient (
    key TEXT NOT NULL,
    into_key TEXT NOT NULL,
    merged_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (key)
);
CREATE INDEX merged_patient_into ON merged_patient (into_key);

ALTER TABLE api_token DROP CONSTRAINT api_token_scopes_known;
ALTER TABLE api_token ADD CONSTRAINT api_token_scopes_known CHECK (scopes <@ ARRAY['query', 'read', 'write', 'admin']);
