"""Operations: health, metrics, the broker, a restored database."""
