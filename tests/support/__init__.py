"""What the process-level tests share. Everything is on loopback; nothing sleeps to synchronise."""
