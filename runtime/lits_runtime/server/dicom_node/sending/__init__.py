"""Results that go out: where to, by which protocol, and how often it is tried."""
