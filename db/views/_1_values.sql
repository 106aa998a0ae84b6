CREATE FUNCTION analytics.header_value(attributes jsonb, tag text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(coalesce(attributes -> tag -> 'Value' ->> 0, ''), 64);

COMMENT ON FUNCTION analytics.header_value IS
    'The first value of an attribute in the DICOM JSON model, at most 64 characters; empty where there is none';

CREATE FUNCTION analytics.age_band(age_years float) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN age_years IS NULL THEN ''
    WHEN age_years >= 90 THEN '90+'
    ELSE (floor(age_years / 5) * 5)::int || '-' || (floor(age_years / 5) * 5 + 4)::int
END;

COMMENT ON FUNCTION analytics.age_band IS
    'An age as everybody may see it: a band of five years such as 40-44, all from 90 as one; empty where unknown';

CREATE FUNCTION analytics_inner.shown_reason(reason text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN reason LIKE 'modality %' AND analytics_inner.known_modality(substr(reason, 10)) = '' THEN 'another modality'
    WHEN reason LIKE 'photometric %' AND analytics_inner.known_photometric(substr(reason, 13)) = ''
        THEN 'another photometric interpretation'
    WHEN reason LIKE 'body part %' THEN 'another body part'
    ELSE reason
END;

COMMENT ON FUNCTION analytics_inner.shown_reason IS
    'Why an instance is not indexed, without words that came with it, as pages show it (regionmir.web.cards.shown_reason)';
