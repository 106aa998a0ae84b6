CREATE FUNCTION analytics.recall_probe(
    only_anatomy text DEFAULT NULL, k int DEFAULT 10, probes int DEFAULT 20, of_generation int DEFAULT NULL
)
RETURNS TABLE (
    anatomy text, regions bigint, has_index boolean, queries int, recall float, recall_by_id float, p95_ms float,
    generation int, model text, model_version text, weights_sha256 text, data_sha256 text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    asked text;
    leaf record;
    named analytics.generation;
    wanted record;
    near record;
    exact record;
    began timestamptz;
    times float[];
BEGIN
    PERFORM set_config('hnsw.iterative_scan', 'strict_order', true);
    PERFORM set_config('hnsw.ef_search', greatest(40, least(1000, 4 * k + 40))::text, true);
    FOR asked IN
        SELECT a.short FROM anatomy AS a JOIN model ON a.pk = ANY (model.anatomy_pks)
        WHERE (only_anatomy IS NULL OR a.short = upper(only_anatomy))
            AND model.pk = coalesce(of_generation, (SELECT pk FROM model WHERE status = 'active'))
        ORDER BY a.pk
    LOOP
        leaf := analytics_inner.leaf(of_generation, asked);
        named := leaf.generation;
        times := '{}';
        queries := 0; recall := 0; recall_by_id := 0;
        EXECUTE format('SELECT count(*) FROM %I', leaf.name) INTO regions;
        FOR wanted IN EXECUTE format(
            'SELECT v FROM %I ORDER BY hashint8(region_pk), region_pk LIMIT $1', leaf.name
        ) USING probes LOOP
            EXECUTE format(  -- without the cast no index applies
                'SELECT array_agg(region_pk) AS pks, min(similarity) AS last FROM '
                '(SELECT region_pk, -(v <#> $1) AS similarity FROM %I ORDER BY v <#> $1 LIMIT $2) AS near', leaf.name
            ) INTO exact USING wanted.v, k;
            began := clock_timestamp();
            EXECUTE format(
                'SELECT array_agg(region_pk) AS pks, array_agg(similarity) AS similarities FROM (SELECT * FROM '
                '(SELECT region_pk, -(v::halfvec(%1$s) <#> $1) AS similarity FROM %2$I '
                'ORDER BY v::halfvec(%1$s) <#> $1 LIMIT 2 * $2 + 20) AS fetched '
                'ORDER BY similarity DESC LIMIT $2) AS near', leaf.dim, leaf.name
            ) INTO near USING wanted.v, k;
            times := times || extract(epoch FROM clock_timestamp() - began)::float * 1000;
            queries := queries + 1;
            recall := recall + (SELECT count(*) FROM unnest(near.similarities) AS s WHERE s >= exact.last - 1e-3)::float
                / cardinality(exact.pks);
            recall_by_id := recall_by_id + (SELECT count(*) FROM unnest(near.pks) AS pk WHERE pk = ANY (exact.pks))::float
                / cardinality(exact.pks);
        END LOOP;
        anatomy := asked;
        has_index := leaf.has_index;
        recall := recall / nullif(queries, 0);
        recall_by_id := recall_by_id / nullif(queries, 0);
        p95_ms := (SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY t) FROM unnest(times) AS t);
        generation := named.generation;
        model := named.model;
        model_version := named.model_version;
        weights_sha256 := named.weights_sha256;
        data_sha256 := named.data_sha256;
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION analytics.recall_probe IS
    'How many of the k nearest regions a search finds, beside comparing every row, and how long it takes: one row per anatomy. recall counts a hit that is as similar as the k-th within 0.001, recall_by_id the same regions';
