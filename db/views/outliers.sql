CREATE FUNCTION analytics.outliers(of_anatomy text, most int DEFAULT 50, of_generation int DEFAULT NULL)
RETURNS TABLE (
    anatomy text, instance text, score float, similarity_to_mean float, standard_deviations float,
    generation int, model text, model_version text, weights_sha256 text, data_sha256 text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    leaf record := analytics_inner.leaf(of_generation, of_anatomy);
    named analytics.generation := leaf.generation;
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH middle AS MATERIALIZED (SELECT l2_normalize(avg(v::vector)) AS mean FROM %1$I), line AS MATERIALIZED ('
        '    SELECT e.region_pk, e.instance_pk, -(e.v::vector <#> middle.mean) AS similarity FROM %1$I AS e, middle'
        '), spread AS (SELECT avg(similarity) AS mean, nullif(stddev_samp(similarity), 0) AS sd FROM line) '
        'SELECT $2, film.instance, region.score, similarity, (spread.mean - similarity) / spread.sd, $3, $4, $5, $6, $7 '
        'FROM (SELECT * FROM line ORDER BY similarity, region_pk LIMIT $1) AS far CROSS JOIN spread '
        'JOIN region ON region.pk = far.region_pk '
        'JOIN analytics_inner.film_key AS film ON film.instance_pk = far.instance_pk ORDER BY similarity, far.region_pk',
        leaf.name
    ) USING most, upper(of_anatomy),
        named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;
END
$$;

COMMENT ON FUNCTION analytics.outliers IS
    'The regions least like the mean of their anatomy, the farthest first: wrong boxes, rare anatomy, devices, wrong films. standard_deviations: how far below the mean similarity';
