"""Models, their immutable versions, aliases, and the uploads that files arrive by.

Owns: registration (inspect, resolve, check, number), aliases with their history, uploads and
the collection of what nobody refers to.
Does not own: fetching from hubs, storage of rows and bytes (ports), serving (services.deployments).
"""
