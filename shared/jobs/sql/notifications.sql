-- Send a notification, unless PostgreSQL's queue of notifications is half full. Any role can fill the queue; when it is
-- full, each transaction that notifies fails. Every listener also polls, so a lost notification costs only seconds.
CREATE OR REPLACE FUNCTION public.send_notification(channel text, payload text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_notification_queue_usage() < 0.5 THEN
    PERFORM pg_notify(channel, payload);
  END IF;
END $$;
