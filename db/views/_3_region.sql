CREATE VIEW analytics.region AS
WITH named AS MATERIALIZED (SELECT * FROM analytics.generation)
SELECT
    film.instance,
    film.study,
    film.patient,
    anatomy.short AS anatomy,
    region.x0,
    region.y0,
    region.x1,
    region.y1,
    region.score,
    named.generation,
    named.model,
    named.model_version,
    named.weights_sha256,
    named.data_sha256
FROM region
JOIN named ON named.generation = region.model_pk
JOIN anatomy ON anatomy.pk = region.anatomy_pk
JOIN analytics_inner.film_key AS film ON film.instance_pk = region.instance_pk;

COMMENT ON VIEW analytics.region IS
    'One row per region that a generation found: its box on the stored pixels (half-open, x right, y down) and score';
