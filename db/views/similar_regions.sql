CREATE FUNCTION analytics.similar_regions(anchor text, anatomy text, k int DEFAULT 10, of_generation int DEFAULT NULL)
RETURNS TABLE (
    rank int, instance text, study text, similarity float,
    generation int, model text, model_version text, weights_sha256 text, data_sha256 text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    leaf record := analytics_inner.leaf(of_generation, anatomy);
    named analytics.generation := leaf.generation;
    wanted record;
    stored text;
    found int;
BEGIN
    IF k NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'k must be 1 to 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format(
        'SELECT e.v, e.patient_pk, e.study_pk, e.pixel_sha256 FROM %I AS e '
        'JOIN analytics_inner.film_key AS film ON film.instance_pk = e.instance_pk WHERE film.instance = $1', leaf.name
    ) INTO wanted USING anchor;
    IF wanted.v IS NULL THEN
        RAISE EXCEPTION 'this region was not found in an instance of this pseudonym' USING ERRCODE = 'no_data_found';
    END IF;
    PERFORM set_config('hnsw.iterative_scan', 'strict_order', true);
    PERFORM set_config('hnsw.ef_search', least(1000, 4 * k + 40)::text, true);
    FOREACH stored IN ARRAY ARRAY[format('v::halfvec(%s)', leaf.dim), 'v'] LOOP  -- by index, then, if short, exactly
        RETURN QUERY EXECUTE format(
            'WITH near AS MATERIALIZED ('
            '    SELECT instance_pk, study_pk, pixel_sha256, -(%1$s <#> $1) AS similarity FROM %2$I '
            '    WHERE patient_pk <> ALL ($2) AND pixel_sha256 <> $3 '
            '    AND study_pk NOT IN (SELECT pk FROM study WHERE hidden_at IS NOT NULL) '
            '    ORDER BY %1$s <#> $1 LIMIT 2 * $4 + 20'
            '), films AS ('
            '    SELECT DISTINCT ON (pixel_sha256) * FROM near ORDER BY pixel_sha256, similarity DESC'
            '), studies AS ('
            '    SELECT DISTINCT ON (study_pk) * FROM films ORDER BY study_pk, similarity DESC'
            ') SELECT (row_number() OVER best)::int, film.instance, film.study, similarity, $5, $6, $7, $8, $9 '
            'FROM studies JOIN analytics_inner.film_key AS film USING (instance_pk) '
            'WINDOW best AS (ORDER BY similarity DESC, instance_pk) ORDER BY similarity DESC, instance_pk LIMIT $4',
            stored, leaf.name
        ) USING wanted.v, analytics_inner.same_person(wanted.patient_pk), wanted.pixel_sha256, k,
            named.generation, named.model, named.model_version, named.weights_sha256, named.data_sha256;
        GET DIAGNOSTICS found = ROW_COUNT;
        EXIT WHEN found > 0 OR NOT leaf.has_index;
    END LOOP;
END
$$;

COMMENT ON FUNCTION analytics.similar_regions IS
    'The k studies most like one region of an instance (its pseudonym), best first; none of its own patient or of who may be the same one, none with its pixels. similarity is a cosine, -1 to 1';
