"""Where a replica listens for the others: on its node's own address, which on a laptop is loopback.

Ray Serve has every replica take calls of other processes on all addresses of the machine. Its way in unpickles what it
is sent: whoever reaches it, and has Ray's token where there is one, runs code.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.serve._private import replica

_replica: Any = replica
_on_all_addresses = _replica.add_port_to_grpc_server


def on_the_nodes_address_alone() -> None:
    """For this process. To be called before the replica listens: in the constructor of what it serves."""
    host: str = ray.util.get_node_ip_address()

    def there(server: Any, address: str) -> Any:
        return _on_all_addresses(server, address.replace("[::]", f"[{host}]" if ":" in host else host))

    _replica.add_port_to_grpc_server = there
