CREATE FUNCTION analytics.cohort(
    with_label text DEFAULT NULL,
    min_confidence float DEFAULT 0,
    with_sex text DEFAULT NULL,
    age_from int DEFAULT NULL,
    age_to int DEFAULT NULL,
    with_view text DEFAULT NULL,
    with_modality text DEFAULT NULL,
    of_manufacturer text DEFAULT NULL,
    of_device_model text DEFAULT NULL,
    with_anatomy text DEFAULT NULL,
    date_from date DEFAULT NULL,
    date_to date DEFAULT NULL
) RETURNS SETOF analytics.instance
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT film.*
    FROM analytics.instance AS film
    WHERE film.state = 'indexed'
        AND (with_sex IS NULL OR film.sex = with_sex)
        AND (age_from IS NULL OR nullif(regexp_replace(film.age_band, '[-+].*', ''), '')::int >= age_from)
        AND (age_to IS NULL OR nullif(regexp_replace(film.age_band, '[-+].*', ''), '')::int <= age_to)
        AND (with_view IS NULL OR film.view = with_view)
        AND (with_modality IS NULL OR film.modality = with_modality)
        AND (of_manufacturer IS NULL OR film.manufacturer = of_manufacturer)
        AND (of_device_model IS NULL OR film.device_model = of_device_model)
        AND (date_from IS NULL OR film.study_date >= date_from)
        AND (date_to IS NULL OR film.study_date <= date_to)
        AND (with_anatomy IS NULL OR film.instance IN (
            SELECT region.instance FROM analytics.region AS region
            WHERE region.anatomy = upper(with_anatomy) AND region.generation = film.generation
        ))
        AND (with_label IS NULL OR film.study IN (
            SELECT label.study FROM analytics.labels AS label
            WHERE label.label = lower(with_label) AND coalesce(label.confidence, 1) >= min_confidence
        ));
END;

COMMENT ON FUNCTION analytics.cohort IS
    'The indexed instances that pass every condition given. Ages count by the first year of their band, dates as they are shown: moved by the days of the patient';
