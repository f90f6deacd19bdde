"""Whether members would take an object that is not stored yet: who is asked, how, what answers mean."""
