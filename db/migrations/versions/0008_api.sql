-- Tokens of programs. The token itself is known to its holder alone.
CREATE TABLE api_token (
    name TEXT NOT NULL,
    token_sha256 TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    disclosure TEXT NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    used_at timestamptz,
    PRIMARY KEY (name),
    CONSTRAINT api_token_sha256 UNIQUE (token_sha256),
    CONSTRAINT api_token_disclosure_known CHECK (disclosure IN ('identified', 'pseudonymous')),
    CONSTRAINT api_token_scopes_known CHECK (scopes <@ ARRAY['query', 'read', 'write'])
);

-- Films that a program uploads to ask for similar ones: no part of the archive, found by nobody, forgotten soon.
CREATE TABLE uploaded_film (
    code TEXT NOT NULL,
    owner TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    lease_until timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL,
    patient_pks BIGINT[] NOT NULL,
    model_pk INTEGER,
    pixel_sha256 TEXT DEFAULT '' NOT NULL,
    view TEXT DEFAULT '' NOT NULL,
    rows INTEGER,
    columns INTEGER,
    regions JSONB DEFAULT '[]'::jsonb NOT NULL,
    PRIMARY KEY (code),
    FOREIGN KEY(model_pk) REFERENCES model (pk),
    CONSTRAINT uploaded_film_state_known
        CHECK (state IN ('received', 'indexing', 'indexed', 'unsupported', 'failed'))
);
CREATE INDEX uploaded_film_waiting ON uploaded_film (created_at) WHERE state IN ('received', 'indexing');
CREATE INDEX uploaded_film_age ON uploaded_film (expires_at);
