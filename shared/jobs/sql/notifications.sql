-- Notifies those who listen, unless PostgreSQL's queue of notifications fills: where it is full, each transaction
-- that notifies fails, and any role can fill it. Whoever listens also looks by himself every few seconds.
CREATE OR REPLACE FUNCTION public.send_notification(channel text, payload text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_notification_queue_usage() < 0.5 THEN
    PERFORM pg_notify(channel, payload);
  END IF;
END $$;
