"""Sets up an app's resources in AWS: templates, provisioning, checks, new projects."""
