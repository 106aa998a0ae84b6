-- Generations side by side: what each said of each instance, and what it has still to look at.
CREATE TABLE analysis (
    model_pk INTEGER NOT NULL,
    instance_pk BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    received_at timestamptz NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    lease_until timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (model_pk, instance_pk),
    CONSTRAINT analysis_state_known CHECK (state IN ('waiting', 'indexing', 'indexed', 'unsupported', 'failed')),
    FOREIGN KEY(model_pk) REFERENCES model (pk),
    FOREIGN KEY(instance_pk) REFERENCES instance (pk) ON DELETE CASCADE
);
CREATE INDEX analysis_instance ON analysis (instance_pk);
CREATE INDEX analysis_waiting ON analysis (model_pk, received_at, instance_pk) WHERE state IN ('waiting', 'indexing');
CREATE INDEX analysis_ended ON analysis (model_pk, ended_at) WHERE ended_at IS NOT NULL;

-- Until now `retired` only meant that searches used another one: nothing was dropped.
ALTER TABLE model
    ADD COLUMN folder TEXT DEFAULT '' NOT NULL,
    DROP CONSTRAINT model_status_known,
    ADD CONSTRAINT model_status_known CHECK (status IN ('candidate', 'active', 'previous', 'retired'));
CREATE UNIQUE INDEX model_one_previous ON model (status) WHERE status = 'previous';
UPDATE model SET status = 'candidate' WHERE status = 'retired';

INSERT INTO analysis (model_pk, instance_pk, state, received_at, ended_at)
SELECT found.model_pk, instance.pk, 'indexed', instance.received_at, instance.indexed_at
FROM (SELECT DISTINCT model_pk, instance_pk FROM region) AS found
JOIN instance ON instance.pk = found.instance_pk;
INSERT INTO analysis (model_pk, instance_pk, state, reason, received_at, ended_at)
SELECT model.pk, instance.pk, 'unsupported', instance.reason, instance.received_at, now()
FROM instance
JOIN model ON model.status = 'active'
WHERE instance.state = 'unsupported'
    AND instance.reason IN ('not a frontal chest radiograph', 'no region found')
ON CONFLICT DO NOTHING;

-- Who named a finding, and how sure they were. Each source has a say of its own.
ALTER TABLE finding
    ADD COLUMN source TEXT DEFAULT '' NOT NULL,
    ADD COLUMN confidence FLOAT,
    ADD COLUMN imported_at timestamptz DEFAULT now() NOT NULL,
    DROP CONSTRAINT finding_pkey,
    ADD PRIMARY KEY (study_pk, label, source),
    ADD CONSTRAINT finding_confidence CHECK (confidence BETWEEN 0 AND 1);

-- Rare views are found by an index, as rare dates and ages are.
CREATE INDEX embedding_view ON embedding (view);
