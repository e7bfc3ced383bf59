"""Many questions about many scenes: from files or the search of an archive to tables, masks and STAC items."""
