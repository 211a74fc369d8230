"""What a run shows: leaderboard, claims, defects, judges, online findings."""
