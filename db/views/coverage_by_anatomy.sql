CREATE VIEW analytics.coverage_by_anatomy AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation)
SELECT
    anatomy.short AS anatomy,
    count(region.pk) AS regions,
    avg(region.score) AS mean_score,
    count(region.pk)::float / nullif(named.films, 0) AS share_of_indexed,
    named.status,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM named
JOIN model ON model.pk = named.generation
CROSS JOIN LATERAL unnest(model.anatomy_pks) AS found (anatomy_pk)
JOIN anatomy ON anatomy.pk = found.anatomy_pk
LEFT JOIN region ON region.model_pk = model.pk AND region.anatomy_pk = anatomy.pk
GROUP BY
    anatomy.short, named.films, named.status,
    named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;

COMMENT ON VIEW analytics.coverage_by_anatomy IS
    'In how many of the films that it indexed each generation found each of its anatomies: one row per generation and anatomy';
