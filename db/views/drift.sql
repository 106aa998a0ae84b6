CREATE FUNCTION analytics_inner.mean_kernel(a vector[], b vector[], same boolean, width float) RETURNS float
LANGUAGE sql IMMUTABLE
RETURN (
    SELECT avg(exp(-(1 + (x.v <#> y.v)) / width))
    FROM unnest(a) WITH ORDINALITY AS x (v, nth), unnest(b) WITH ORDINALITY AS y (v, nth)
    WHERE NOT same OR x.nth <> y.nth
);

COMMENT ON FUNCTION analytics_inner.mean_kernel IS
    'The mean of exp(-(1 - x.y) / width) over pairs of unit vectors; same: a and b are one sample, no pair of one with itself';

CREATE FUNCTION analytics.drift(
    of_anatomy text, by_what text DEFAULT 'month', of_generation int DEFAULT NULL, sample int DEFAULT 100
)
RETURNS TABLE (
    anatomy text, month date, device text, regions bigint, centroid_shift float, shift_by_chance float, mmd2 float,
    generation int, model text, model_version text, weights_sha256 text, data_sha256 text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    leaf record := analytics_inner.leaf(of_generation, of_anatomy);
    named analytics.generation := leaf.generation;
    by_month boolean := by_what = 'month';
BEGIN
    IF by_what NOT IN ('month', 'device') OR sample NOT BETWEEN 2 AND 1000 THEN
        RAISE EXCEPTION 'drift is by month or by device, with a sample of 2 to 1000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY EXECUTE format(
        'WITH line AS MATERIALIZED ('
        '    SELECT e.v::vector AS v, hashint8(e.region_pk) AS place, '
        '        CASE WHEN $1 THEN date_trunc(''month'', i.received_at)::date END AS month, '
        '        CASE WHEN NOT $1 THEN trim(analytics.header_value(s.attributes, ''00080070'') || '' '' '
        '            || analytics.header_value(s.attributes, ''00081090'')) END AS device '
        '    FROM %I AS e JOIN instance AS i ON i.pk = e.instance_pk JOIN series AS s ON s.pk = i.series_pk'
        '), total AS ('
        '    SELECT count(*) AS n, avg(v) AS mean, greatest(1 + (avg(v) <#> avg(v)), 1e-6) AS variance FROM line'
        '), part AS ('
        '    SELECT month, device, count(*) AS n, avg(v) AS mean FROM line GROUP BY month, device HAVING count(*) >= 5'
        '), picked AS ('
        '    SELECT *, row_number() OVER (PARTITION BY month, device ORDER BY place) AS nth FROM line'
        ') SELECT $3, part.month, part.device, part.n, '
        '    total.n::float / (total.n - part.n) * (part.mean <-> total.mean) / sqrt(total.variance), '
        '    sqrt(1::float / part.n + 1::float / (total.n - part.n)), '
        '    analytics_inner.mean_kernel(own.vs, own.vs, true, total.variance) '
        '    + analytics_inner.mean_kernel(rest.vs, rest.vs, true, total.variance) '
        '    - 2 * analytics_inner.mean_kernel(own.vs, rest.vs, false, total.variance), '
        '    $4, $5, $6, $7, $8 '
        'FROM total JOIN part ON part.n < total.n '
        'CROSS JOIN LATERAL (SELECT array_agg(v) AS vs FROM picked WHERE nth <= $2 '
        '    AND (month, device) IS NOT DISTINCT FROM (part.month, part.device)) AS own '
        'CROSS JOIN LATERAL (SELECT array_agg(v) AS vs FROM (SELECT v FROM picked WHERE nth <= $2 '
        '    AND (month, device) IS DISTINCT FROM (part.month, part.device) ORDER BY place LIMIT $2) AS other) AS rest '
        'ORDER BY part.month, part.device', leaf.name
    ) USING by_month, sample, upper(of_anatomy),
        named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;
END
$$;

COMMENT ON FUNCTION analytics.drift IS
    'How far the embeddings of one month of arrival, or of one device, are from all others of an anatomy. centroid_shift is the distance of the means in standard deviations, shift_by_chance what to expect of so many by chance; mmd2 is the squared maximum mean discrepancy (Gaussian kernel, unbiased, of a sample): 0 where both are alike';

CREATE VIEW analytics.drift_by_month AS
SELECT found.*
FROM model
CROSS JOIN LATERAL unnest(model.anatomy_pks) AS key (anatomy_pk)
JOIN anatomy ON anatomy.pk = key.anatomy_pk
CROSS JOIN LATERAL analytics.drift(anatomy.short, 'month', model.pk) AS found
WHERE model.status = 'active';

COMMENT ON VIEW analytics.drift_by_month IS
    'analytics.drift of every anatomy by month of arrival: one row per anatomy and month with at least 5 regions';

CREATE VIEW analytics.drift_by_device AS
SELECT found.*
FROM model
CROSS JOIN LATERAL unnest(model.anatomy_pks) AS key (anatomy_pk)
JOIN anatomy ON anatomy.pk = key.anatomy_pk
CROSS JOIN LATERAL analytics.drift(anatomy.short, 'device', model.pk) AS found
WHERE model.status = 'active';

COMMENT ON VIEW analytics.drift_by_device IS
    'analytics.drift of every anatomy by device: one row per anatomy and device with at least 5 regions';
