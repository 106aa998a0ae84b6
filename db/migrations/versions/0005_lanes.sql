-- What the ways in need: what a result set was asked for.

ALTER TABLE result_set ADD COLUMN asked JSONB DEFAULT '{}'::jsonb NOT NULL;
