-- Return the report of a scan without its lists, as it stays with the job.
CREATE OR REPLACE FUNCTION public.image_report_summary(report jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT report - 'packages' #- '{vulnerabilities,findings}'
$$;

-- Store what a job found in the image of its command: the SBOM with its packages, the vulnerabilities, or both. What the
-- report does not have stays as it was. ``packages`` is {type: [name@version]}.
CREATE OR REPLACE FUNCTION public.image_report_add(job public.job, report jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  image text := substring(job.command->>'reference' from '@(sha256:[0-9a-f]{64})$');
  has_sbom boolean := coalesce(jsonb_typeof(report->'sbom') = 'object' AND jsonb_typeof(report->'packages') = 'object', false);
  has_scan boolean := coalesce(jsonb_typeof(report->'vulnerabilities') = 'object', false);
BEGIN
  IF image IS NULL OR NOT (has_sbom OR has_scan) THEN
    RETURN;
  END IF;
  INSERT INTO public.image_report AS r
    (organization_id, digest, reference, server_id, sbom, sbom_at, vulnerabilities, scanned_at)
  VALUES (job.organization_id, image, job.command->>'reference', job.server_id,
    CASE WHEN has_sbom THEN report->'sbom' END, CASE WHEN has_sbom THEN now() END,
    CASE WHEN has_scan THEN report->'vulnerabilities' END, CASE WHEN has_scan THEN now() END)
  ON CONFLICT (organization_id, digest) DO UPDATE SET
    reference = excluded.reference, server_id = excluded.server_id, updated_at = now(),
    sbom = coalesce(excluded.sbom, r.sbom), sbom_at = coalesce(excluded.sbom_at, r.sbom_at),
    vulnerabilities = coalesce(excluded.vulnerabilities, r.vulnerabilities),
    scanned_at = coalesce(excluded.scanned_at, r.scanned_at);
  IF NOT has_sbom THEN
    RETURN;
  END IF;
  DELETE FROM public.image_package p WHERE p.organization_id = job.organization_id AND p.digest = image;
  INSERT INTO public.image_package (organization_id, digest, type, name, version)
  SELECT DISTINCT job.organization_id, image, left(listed.type, 50), left(parts[1], 300), left(parts[2], 200)
    FROM jsonb_each(report->'packages') AS listed (type, packages)
   CROSS JOIN jsonb_array_elements_text(
     CASE WHEN jsonb_typeof(listed.packages) = 'array' THEN listed.packages ELSE '[]' END) AS package
   CROSS JOIN regexp_match(package, '^(.+)@([^@]*)$') AS parts
   WHERE parts IS NOT NULL;
END $$;
