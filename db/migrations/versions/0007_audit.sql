-- Peers: single services may be taken from the rights to retrieve and to store; TLS and certificates.
ALTER TABLE peer
    ADD COLUMN can_get BOOLEAN DEFAULT true NOT NULL,
    ADD COLUMN can_move BOOLEAN DEFAULT true NOT NULL,
    ADD COLUMN can_commit BOOLEAN DEFAULT true NOT NULL,
    ADD COLUMN tls BOOLEAN DEFAULT false NOT NULL,
    ADD COLUMN certificate TEXT DEFAULT '' NOT NULL;

-- The event as a DICOM audit message (PS3.15 A.5.1).
ALTER TABLE audit_event ADD COLUMN message TEXT DEFAULT '' NOT NULL;

-- Each event's hash covers the event and the hash before it, in the order of the commits.
CREATE TABLE audit_chain (
    position BIGINT NOT NULL,
    event_pk BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (position),
    CONSTRAINT audit_chain_event UNIQUE (event_pk)
);
CREATE TRIGGER audit_chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- How far the trail has been told to each syslog server.
CREATE TABLE audit_forwarding (
    destination TEXT NOT NULL,
    position BIGINT NOT NULL,
    sent_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (destination)
);

-- SHA-256 over the previous hash and the fields, each behind its length in bytes. `db.audit_chain` does the same.
CREATE FUNCTION audit_digest(previous BYTEA, event audit_event) RETURNS BYTEA LANGUAGE sql STABLE AS $$
    SELECT sha256(previous || convert_to(string_agg(octet_length(field) || ':' || field, ',' ORDER BY n), 'UTF8'))
    FROM unnest(ARRAY[
        event.pk::text,
        to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        event.kind, event.actor, event.address, event.detail::text, event.message
    ]) WITH ORDINALITY AS fields (field, n)
$$;

-- Runs at the commit, so that the lock on the end of the chain is held for that moment only; and with the owner's
-- rights, so that those who write events need none on the chain.
CREATE FUNCTION chain_audit_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    last RECORD;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'audit events need the isolation level read committed';
    END IF;
    PERFORM pg_advisory_xact_lock(1380405572);
    SELECT position, hash INTO last FROM audit_chain ORDER BY position DESC LIMIT 1;
    INSERT INTO audit_chain (position, event_pk, hash)
    VALUES (coalesce(last.position, 0) + 1, NEW.pk, audit_digest(coalesce(last.hash, ''::bytea), NEW));
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER audit_event_chained AFTER INSERT ON audit_event DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION chain_audit_event();

DO $$
DECLARE
    event audit_event;
    place BIGINT := 0;
    previous BYTEA := ''::bytea;
BEGIN
    FOR event IN SELECT * FROM audit_event ORDER BY pk LOOP
        place := place + 1;
        previous := audit_digest(previous, event);
        INSERT INTO audit_chain (position, event_pk, hash) VALUES (place, event.pk, previous);
    END LOOP;
END
$$;
