"""What a job is about, worked out before it is made: by the API for people, by the scheduler for schedules."""
