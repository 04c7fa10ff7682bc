"""Sets up what an app needs in AWS: templates, provisioning, checks, new projects."""
