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

-- No process may delete rows of the archive as it likes: these two, with their owner's rights, take out what
-- removed_instance names, and what is empty.

CREATE FUNCTION forget_removed(sop_instance_uids TEXT[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM instance_version v USING removed_instance r
        WHERE v.sop_instance_uid = ANY (sop_instance_uids) AND r.sop_instance_uid = v.sop_instance_uid
        AND r.storage_key = '';
    DELETE FROM instance i USING removed_instance r
        WHERE i.sop_instance_uid = ANY (sop_instance_uids) AND r.sop_instance_uid = i.sop_instance_uid;
$$;

CREATE FUNCTION forget_empty(study_pks BIGINT[], patient_pks BIGINT[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM series e WHERE e.study_pk = ANY (study_pks)
        AND NOT EXISTS (SELECT FROM instance i WHERE i.series_pk = e.pk);
    DELETE FROM study s WHERE s.pk = ANY (study_pks) AND NOT EXISTS (SELECT FROM series e WHERE e.study_pk = s.pk);
    DELETE FROM patient p WHERE p.pk IN (
            SELECT q.pk FROM patient q WHERE q.pk = ANY (patient_pks)
            AND NOT EXISTS (SELECT FROM study s WHERE s.patient_pk = q.pk) FOR UPDATE SKIP LOCKED)
        AND NOT EXISTS (SELECT FROM study s WHERE s.patient_pk = p.pk);
$$;

REVOKE ALL ON FUNCTION forget_removed(TEXT[]), forget_empty(BIGINT[], BIGINT[]) FROM PUBLIC;
