CREATE VIEW analytics_inner.embedded_region AS
SELECT
    embedding.model_pk,
    film.instance,
    film.study,
    film.patient,
    anatomy.short AS anatomy,
    region.x0,
    region.y0,
    region.x1,
    region.y1,
    region.score,
    embedding.v
FROM embedding
JOIN region ON region.pk = embedding.region_pk
JOIN anatomy ON anatomy.pk = embedding.anatomy_pk
JOIN analytics_inner.film_key AS film ON film.instance_pk = embedding.instance_pk;
