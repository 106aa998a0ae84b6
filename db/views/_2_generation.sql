CREATE VIEW analytics.generation AS
SELECT
    model.status,
    model.preprocessing_hash,
    model.dim,
    model.registered_at,
    data.films,
    model.pk AS generation,
    model.name AS model,
    model.version AS model_version,
    model.weights_sha256,
    encode(sha256(convert_to(data.films || ':' || data.sum, 'UTF8')), 'hex') AS data_sha256
FROM model
CROSS JOIN LATERAL (
    SELECT
        count(*) AS films,
        coalesce(
            sum(('x' || left(encode(sha256(convert_to(instance.pixel_sha256, 'UTF8')), 'hex'), 15))::bit(60)::bigint), 0
        ) AS sum
    FROM analysis
    JOIN instance ON instance.pk = analysis.instance_pk
    WHERE analysis.model_pk = model.pk AND analysis.state = 'indexed'
) AS data;

COMMENT ON VIEW analytics.generation IS
    'The generations: a model with the films that it has indexed. data_sha256 names that set of films, whatever their order';

CREATE FUNCTION analytics_inner.leaf(
    of_generation int, of_anatomy text,
    OUT name text, OUT anatomy_pk smallint, OUT dim int, OUT has_index boolean, OUT generation analytics.generation
)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT found.* INTO generation FROM analytics.generation AS found
    WHERE found.generation = coalesce(of_generation, (SELECT pk FROM model WHERE status = 'active'));
    SELECT anatomy.pk INTO anatomy_pk FROM anatomy JOIN model ON anatomy.pk = ANY (model.anatomy_pks)
    WHERE model.pk = generation.generation AND anatomy.short = upper(of_anatomy);
    name := 'embedding_m' || generation.generation || '_a' || anatomy_pk;
    IF to_regclass(name) IS NULL THEN
        RAISE EXCEPTION 'generation % has no embeddings of anatomy %',
            coalesce(of_generation::text, 'that searches use'), coalesce(of_anatomy, 'null')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT generation, anatomy FROM analytics.coverage_by_anatomy';
    END IF;
    dim := generation.dim;
    has_index := coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(name || '_hnsw')), false);
END
$$;

COMMENT ON FUNCTION analytics_inner.leaf IS
    'The table of embeddings of one anatomy under one generation (null: the one that searches use)';
