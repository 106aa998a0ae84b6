-- Which kinds of results a peer is sent: the structured report unless told otherwise.
ALTER TABLE peer ADD COLUMN results TEXT[] DEFAULT '{sr}' NOT NULL;

-- What a result is made from when it is sent. A report may tell of several answers.
ALTER TABLE delivery ADD COLUMN instance_pk BIGINT REFERENCES instance (pk);
ALTER TABLE delivery ADD COLUMN disclosure TEXT DEFAULT 'pseudonymous' NOT NULL;
ALTER TABLE delivery ADD COLUMN result_set_codes TEXT[] DEFAULT '{}' NOT NULL;
ALTER TABLE delivery ADD CONSTRAINT delivery_disclosure_known CHECK (disclosure IN ('identified', 'pseudonymous'));
UPDATE delivery SET result_set_codes = ARRAY[result_set_code] WHERE result_set_code IS NOT NULL;
ALTER TABLE delivery DROP COLUMN result_set_code;
