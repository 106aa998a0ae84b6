-- Small renditions of films, from which pages cut their thumbnails. They go with what they are of.
CREATE TABLE rendition (
    instance_pk BIGINT NOT NULL,
    drawn_by TEXT NOT NULL,
    jpeg BYTEA NOT NULL,
    PRIMARY KEY (instance_pk),
    FOREIGN KEY(instance_pk) REFERENCES instance (pk) ON DELETE CASCADE
);
ALTER TABLE rendition ALTER COLUMN jpeg SET STORAGE EXTERNAL;

-- Nothing is kept of the object, or another version took its place. A reduced copy is of the same film.
CREATE FUNCTION forget_rendition() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM rendition WHERE instance_pk = NEW.pk;
    RETURN NULL;
END
$$;
CREATE TRIGGER instance_rendition AFTER UPDATE OF storage_key, kept ON instance FOR EACH ROW
WHEN (NEW.kept = 'nothing' OR (NEW.kept = 'object' AND NEW.storage_key <> OLD.storage_key))
EXECUTE FUNCTION forget_rendition();
