"""Results in a DynamoDB table."""
