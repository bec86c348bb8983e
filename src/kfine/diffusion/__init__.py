"""Schedules, samplers, guidance and losses: functions that are independent of files and of the inside of networks."""
