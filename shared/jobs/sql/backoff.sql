-- Return the backoff after one more failure: 2, 4, 8 … s, up to 5 min, plus up to a half by jitter in [0, 1).
-- `failures` are the earlier ones; `wait` is the least pause, of a Retry-After, and may be null. Called by job_lose and
-- worker_v1.finish.
-- The tests compare it with an oracle: delay in tests/shared/jobs/transitions.py.
CREATE OR REPLACE FUNCTION public.job_backoff(failures integer, jitter double precision, wait interval)
RETURNS interval LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT greatest(
    least(interval '2 seconds' * power(2, least(failures, 12)), interval '5 minutes') * (1 + jitter / 2),
    coalesce(wait, interval '0'))
$$;
