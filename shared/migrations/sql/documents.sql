-- Documents of workers are stored only if every reader can read them: they are bounded in bytes (and so in elements,
-- each of which takes four), in depth and in their numbers, and hold nothing that steers a terminal.

-- Replace control characters (C0 but tab and line feed, DEL, C1), and those that turn the direction of writing, by
-- U+FFFD.
CREATE OR REPLACE FUNCTION public.plain_text(said text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
  SELECT regexp_replace(said, E'[\u0001-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]', E'\ufffd', 'g')
$$;

-- Return the document as it may be stored; null if it may not. It must be an object, smaller than so many bytes, at most
-- 16 levels deep, with numbers below 10^19.
CREATE OR REPLACE FUNCTION public.readable_document(document jsonb, most_bytes integer) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  said text;
BEGIN
  IF jsonb_typeof(document) <> 'object' OR pg_column_size(document) >= most_bytes
     OR jsonb_path_exists(document, 'strict $.**{17 to last}') THEN
    RETURN NULL;
  END IF;
  said := document::text;
  -- The text of most documents is plain: no number of twenty digits, no escapes but \n \t \" \\, all of it ASCII.
  IF said !~ '[ [-][0-9]{20}|\\[bfru]|[^ -~]' THEN
    RETURN document;
  END IF;
  IF jsonb_path_exists(document, 'strict $.** ? (@.type() == "number" && (@ >= 1e19 || @ <= -1e19))') THEN
    RETURN NULL;
  END IF;
  -- JSON text shows C0 as \uXXXX and holds none of it, so that one of it can stand for an escaped backslash.
  said := public.plain_text(replace(
    regexp_replace(replace(said, '\\', chr(1)), '\\u00[01][0-9a-f]|\\[bfr]', E'\ufffd', 'g'), chr(1), '\\'));
  RETURN said::jsonb;
END $$;
