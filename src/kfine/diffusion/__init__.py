"""Schedules, samplers, guidance and losses: functions; none knows a file or a network's inside."""
