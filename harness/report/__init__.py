"""Records -> tables, figures and pages; pure, so that they can be checked."""
