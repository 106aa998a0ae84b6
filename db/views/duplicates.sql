CREATE VIEW analytics.exact_duplicates AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation WHERE status = 'active')
SELECT
    count(*) AS instances,
    count(DISTINCT film.study) AS studies,
    count(DISTINCT film.patient) AS patients,
    array_agg(film.instance ORDER BY film.instance) AS instance_list,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM instance
JOIN analytics_inner.film_key AS film ON film.instance_pk = instance.pk
LEFT JOIN named ON true
WHERE instance.pixel_sha256 IS NOT NULL
GROUP BY
    instance.pixel_sha256,
    named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256
HAVING count(*) > 1;

COMMENT ON VIEW analytics.exact_duplicates IS
    'Films that are stored more than once, pixel by pixel: one row per film. patients > 1 means that one was filed under two patients';

CREATE FUNCTION analytics.near_duplicates(
    of_anatomy text, min_similarity float DEFAULT 0.99, newest int DEFAULT 2000, of_generation int DEFAULT NULL
)
RETURNS TABLE (
    anatomy text, similarity float, instance text, other_instance text, same_patient boolean, same_pixels boolean,
    generation int, model text, model_version text, weights_sha256 text, data_sha256 text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    leaf record := analytics_inner.leaf(of_generation, of_anatomy);
    named analytics.generation := leaf.generation;
BEGIN
    RETURN QUERY EXECUTE format(
        'WITH asked AS MATERIALIZED (SELECT * FROM %1$I ORDER BY region_pk DESC LIMIT $1), pairs AS MATERIALIZED ('
        '    SELECT DISTINCT least(asked.instance_pk, near.instance_pk) AS one, '
        '        greatest(asked.instance_pk, near.instance_pk) AS two, near.similarity, '
        '        asked.patient_pk = near.patient_pk AS same_patient, asked.pixel_sha256 = near.pixel_sha256 AS same_pixels '
        '    FROM asked CROSS JOIN LATERAL ('
        '        SELECT instance_pk, patient_pk, pixel_sha256, -(v::halfvec(%2$s) <#> asked.v) AS similarity FROM %1$I '
        '        WHERE instance_pk <> asked.instance_pk ORDER BY v::halfvec(%2$s) <#> asked.v LIMIT 5'
        '    ) AS near WHERE near.similarity >= $2'
        ') SELECT $3, similarity, a.instance, b.instance, same_patient, same_pixels, $4, $5, $6, $7, $8 '
        'FROM pairs JOIN analytics_inner.film_key AS a ON a.instance_pk = one '
        'JOIN analytics_inner.film_key AS b ON b.instance_pk = two ORDER BY similarity DESC, a.instance', leaf.name, leaf.dim
    ) USING newest, min_similarity, upper(of_anatomy),
        named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;
END
$$;

COMMENT ON FUNCTION analytics.near_duplicates IS
    'Pairs of films whose region of this anatomy is nearly the same, among the newest: each with the five nearest of all. A film stored twice, a film sent to two patients, or a follow-up';
