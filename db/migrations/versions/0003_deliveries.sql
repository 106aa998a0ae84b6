-- Results on their way to a PACS: a lease like that of instances, what the object is about, storage commitment.

ALTER TABLE delivery
    ADD COLUMN study_pk BIGINT NOT NULL REFERENCES study (pk),
    ADD COLUMN result_set_code TEXT REFERENCES result_set (code),
    ADD COLUMN lease_owner TEXT,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN sop_class_uid TEXT DEFAULT '' NOT NULL,
    ADD COLUMN commitment TEXT DEFAULT '' NOT NULL,
    ADD COLUMN transaction_uid TEXT,
    ADD COLUMN requested_at timestamptz,
    DROP CONSTRAINT delivery_state_known,
    ADD CONSTRAINT delivery_state_known CHECK (state IN ('waiting', 'sending', 'delivered', 'dead', 'dropped')),
    ADD CONSTRAINT delivery_commitment_known CHECK (commitment IN ('', 'requested', 'committed', 'refused')),
    ADD CONSTRAINT delivery_lease CHECK ((state = 'sending') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL));
CREATE INDEX delivery_sending ON delivery (destination, lease_until) WHERE state = 'sending';
CREATE INDEX delivery_state ON delivery (state);
CREATE INDEX delivery_study ON delivery (study_pk);
CREATE INDEX delivery_transaction ON delivery (transaction_uid) WHERE transaction_uid IS NOT NULL;

ALTER TABLE peer
    ADD COLUMN max_associations INTEGER DEFAULT 1 NOT NULL,
    ADD COLUMN commits_storage BOOLEAN DEFAULT false NOT NULL,
    ADD CONSTRAINT peer_max_associations CHECK (max_associations BETWEEN 1 AND 64);
