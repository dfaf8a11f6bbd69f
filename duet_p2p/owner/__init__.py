"""The owner's side: handles, requests, policy, and the service that knows them all."""
