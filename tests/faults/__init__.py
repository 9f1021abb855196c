"""The campaign: what goes wrong between an application and its server, one test a fault."""
