"""Groups of async methods, such as `await client.models.list()`."""

from __future__ import annotations

from modelry.client.methods import AsyncResource, awaitable
from modelry.client.operations import aliases, audit, deployments, keys, models, quotas


class AsyncModels(AsyncResource):
    """Models."""

    list = awaitable(models.list_models)
    get = awaitable(models.get_model)
    delete = awaitable(models.delete_model)


class AsyncVersions(AsyncResource):
    """Versions of models."""

    list = awaitable(models.list_versions)
    get = awaitable(models.get_version)
    delete = awaitable(models.delete_version)


class AsyncAliases(AsyncResource):
    """Aliases of versions."""

    list = awaitable(aliases.list_aliases)
    set = awaitable(aliases.set_alias)
    delete = awaitable(aliases.delete_alias)
    moves = awaitable(aliases.list_alias_moves)


class AsyncDeployments(AsyncResource):
    """Deployments and their replicas."""

    list = awaitable(deployments.list_deployments)
    get = awaitable(deployments.get_deployment)
    deploy = awaitable(deployments.deploy)
    delete = awaitable(deployments.undeploy)
    scale = awaitable(deployments.scale)
    load = awaitable(deployments.load)
    unload = awaitable(deployments.unload)
    restart = awaitable(deployments.restart)
    replicas = awaitable(deployments.list_replicas)
    logs = awaitable(deployments.logs)


class AsyncKeys(AsyncResource):
    """API keys."""

    list = awaitable(keys.list_keys)
    create = awaitable(keys.create_key)
    revoke = awaitable(keys.revoke_key)
    whoami = awaitable(keys.whoami)


class AsyncQuotas(AsyncResource):
    """How much may be used."""

    mine = awaitable(quotas.my_quotas)
    keys = awaitable(quotas.key_limits)
    set_key = awaitable(quotas.set_key_limits)
    clear_key = awaitable(quotas.clear_key_limits)
    tenant = awaitable(quotas.tenant_limits)
    set_tenant = awaitable(quotas.set_tenant_limits)


class AsyncAudit(AsyncResource):
    """The audit log."""

    list = awaitable(audit.list_entries)
    head = awaitable(audit.read_head)
    verify = awaitable(audit.verify)
