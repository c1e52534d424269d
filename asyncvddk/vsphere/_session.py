"""VSphere: a session at a vCenter or an ESXi host, its calls in threads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

import anyio
import structlog

from asyncvddk._params import ConnectParams
from asyncvddk._secret import Secret
from asyncvddk.disks._retry import RetryPolicy
from asyncvddk.errors import ClosedError
from asyncvddk.repository import _threads
from asyncvddk.vsphere import _files
from asyncvddk.vsphere._calls import IN_PROGRESS, SessionEndedError, translated
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._properties import values_of
from asyncvddk.vsphere._tasks import TaskWatch
from asyncvddk.vsphere._tls import ServerCertificate
from asyncvddk.vsphere._vim import OLDEST, Managed, Stub, best_version, numbers, to_xml, vim
from asyncvddk.vsphere.errors import CertificateError, FaultError, LoginError, ServerConnectionError, VSphereError

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable
    from types import TracebackType

T = TypeVar("T")

CALLS: Final = 8
PORT: Final = 443
KEEP_ALIVE_S: Final = 300.0
CALL_TIMEOUT_S: Final = 300.0
_IDLE_S: Final = 20
"""Seconds after which a connection is not used again: servers close idle ones, and a call on such a one is lost."""

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class About:
    """What the server is."""

    name: str
    """As ``VMware vCenter Server``."""
    version: str
    """As ``8.0.2``."""
    api_version: str
    instance: str
    """Identifier of a vCenter, which its objects' identifiers belong to; of an ESXi host its address as given."""
    vcenter: bool
    """False: an ESXi host."""


class VSphere:
    """A session at a vCenter or an ESXi host, for as long as the ``async with`` block lasts.

    ::

        async with VSphere("vcenter.example", user="backup", password=password, thumbprint="AB:CD:...") as vsphere:
            inventory = await Inventory.load(vsphere)

    Who asks: ``user`` and ``password``, or ``cookie``, the value of the SOAP session cookie of a session that is logged
    in (such a one is not logged out at the end, and cannot be made again when it expires). Whom: the certificate must
    have ``thumbprint`` (SHA-1 or SHA-256, any letter case, with or without colons), or be signed for ``server`` by an
    authority in ``ca_file``, with neither by one of the system's. There is no way not to check it.

    Calls are made in threads, ``calls`` at once; each answer is waited for ``call_timeout_s`` seconds at most. A
    session that has expired is made again, and the call repeated; while the block lasts, a request every
    ``keep_alive_s`` seconds keeps it from expiring. ``retry``: how often, and after which delays, is asked again when a
    connection breaks (only what can be asked twice) or another task is in progress; its ``codes`` do not matter here.

    Entering raises LoginError, CertificateError, ServerConnectionError. Cancelled, a call is waited for, like a task.
    """

    def __init__(  # noqa: PLR0913  (each is a choice of its own)
        self,
        server: str,
        *,
        user: str | None = None,
        password: str | Secret | None = None,
        cookie: str | Secret | None = None,
        port: int = PORT,
        thumbprint: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        calls: int = CALLS,
        call_timeout_s: float = CALL_TIMEOUT_S,
        keep_alive_s: float = KEEP_ALIVE_S,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Describe it; nothing is sent before the block is entered. Raises ValueError, OSError (``ca_file``)."""
        if not server or not 0 < port < 1 << 16:
            raise ValueError(f"server={server!r}, port={port}: give a name or an address, and a TCP port")
        self.server = server
        self.port = port
        self._user, self._password, self._cookie = user, Secret.of(password), Secret.of(cookie)
        if not self._cookie and not (user and self._password):
            raise ValueError("credentials: give user and password, or the cookie of a session")
        self._certificate = ServerCertificate.expect(thumbprint=thumbprint, ca_file=ca_file)
        self._limiter = anyio.CapacityLimiter(calls)
        self._call_timeout_s, self._keep_alive_s = call_timeout_s, keep_alive_s
        self.retry = retry or RetryPolicy()
        self._stub: Managed = None
        self._content: Managed = None
        self._about: About | None = None
        self._tasks = TaskWatch(self._task_infos)
        self._logins = 0
        self._refused: LoginError | None = None
        self._logging_in = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Log in."""
        if self._stub is not None:
            raise RuntimeError("VSphere: this object is in use already; make another one")
        try:
            await _threads.run(partial(translated, self._begin, f"log in to {self.server}"), limiter=self._limiter)
        except BaseException:
            await to_its_end(self._end())
            raise
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log out; that the server cannot any more is no error."""
        await to_its_end(self._end())

    # Logging in and out

    def _begin(self) -> None:
        first = self._new_stub(OLDEST)
        try:
            api = str(vim.ServiceInstance("ServiceInstance", first).RetrieveContent().about.apiVersion)
        finally:
            first.DropConnections()
        self._stub = self._new_stub(best_version(api))
        self._content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
        about = self._content.about
        self._about = About(
            name=str(about.name),
            version=str(about.version),
            api_version=str(about.apiVersion),
            instance=str(about.instanceUuid or self.server),
            vcenter=about.apiType == "VirtualCenter",
        )
        self._log_in()

    def _new_stub(self, version: str) -> Managed:
        options = {} if version == OLDEST else {"version": version}
        if version == OLDEST:
            options["ns"] = OLDEST
        return Stub(
            host=self.server,
            port=self.port,
            sslContext=self._certificate,
            poolSize=self._limiter.total_tokens,
            connectionPoolTimeout=_IDLE_S,
            httpConnectionTimeout=self._call_timeout_s,
            **options,
        )

    def _log_in(self) -> None:
        manager = self._content.sessionManager
        if self._cookie:
            self._stub.SetSessionId(self._cookie.reveal())
            if not self._is_logged_in():
                raise LoginError(f"log in to {self.server}: the session of this cookie does not exist (any more)")
        elif self._password is not None:
            self._stub.SetSessionId(None)
            manager.Login(self._user, self._password.reveal())
        self._logins += 1

    def _is_logged_in(self) -> bool:
        try:
            return self._content.sessionManager.currentSession is not None
        except vim.fault.NotAuthenticated:
            return False

    async def _log_in_again(self, logins: int, error: SessionEndedError) -> None:
        """Log in unless somebody has since ``logins`` was counted."""
        async with self._logging_in:
            if self._logins != logins:
                return
            if self._cookie or self._refused:
                raise self._refused or error
            _logger.info("session_expired", server=self.server, effect="logged in again")
            try:
                await _threads.run(partial(translated, self._log_in, f"log in to {self.server}"))
            except LoginError as refused:  # asked for again by each of many calls, the account would be locked
                self._refused = refused
                raise

    async def _end(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
            self._beating = None
        await self._tasks.aclose()
        stub, self._stub = self._stub, None
        if stub is not None:
            await _threads.run(partial(self._leave, stub))

    def _leave(self, stub: Managed) -> None:
        try:
            if self._logins and not self._cookie:
                translated(self._content.sessionManager.Logout, "log out")
        except VSphereError as error:
            _logger.debug("logout_failed", server=self.server, reason=str(error))
        finally:
            stub.DropConnections()

    async def _beat(self) -> None:
        """Keep the session from expiring."""
        while True:
            await asyncio.sleep(self._keep_alive_s)
            try:
                await self.call(self.service.CurrentTime, what="keep the session alive")
            except VSphereError as error:
                _logger.warning("keep_alive_failed", server=self.server, reason=str(error), effect="tried again later")

    # What callers need

    @property
    def about(self) -> About:
        """What the server is."""
        if self._about is None:
            raise ClosedError("VSphere: use it inside 'async with'")
        return self._about

    @property
    def thumbprint(self) -> str | None:
        """SHA-1 of the server's certificate, which was checked: what VDDK wants to be given."""
        return self._certificate.sha1

    def to_xml(self, value: Managed) -> str:
        """Return a value of pyVmomi as it is on the wire of this session."""
        return to_xml(value, str(self._stub.version))

    def is_at_least(self, api_version: str) -> bool:
        """Tell whether the server's interface is of ``api_version`` or newer."""
        return numbers(self.about.api_version) >= numbers(api_version)

    @property
    def content(self) -> Managed:
        """The server's managers, as pyVmomi has them; for functions that are given to ``call``."""
        if self._stub is None:
            raise ClosedError("VSphere: use it inside 'async with'")
        return self._content

    @property
    def service(self) -> Managed:
        """The service instance; for functions that are given to ``call``."""
        return self.managed(vim.ServiceInstance, "ServiceInstance")

    def managed(self, kind: Managed, identifier: str) -> Managed:
        """Return the managed object of that identifier, without asking whether it exists."""
        if self._stub is None:
            raise ClosedError("VSphere: use it inside 'async with'")
        return kind(identifier, self._stub)

    def connect_params(self, vm: str) -> ConnectParams:
        """Return what VDDK needs to reach the disks of the machine ``vm`` (as ``vm-16``) through this server."""
        return ConnectParams(
            self.server,
            vmx_spec=f"moref={vm}",
            user=self._user,
            password=self._password,
            cookie=None if self._password else self._cookie,
            thumbprint=self.thumbprint,
            port=0 if self.port == PORT else self.port,
        )

    async def call(self, function: Callable[[], T], *, what: str, again: bool = True) -> T:
        """Return what ``function`` returns, which uses pyVmomi and is run in a thread; ``what`` names it for people.

        ``again``: it may be repeated after a connection broke, because a second time does no harm. A session that has
        expired is made again, and the call repeated, in any case: the server has not done it then.

        Raises FaultError, LoginError, ServerConnectionError, ClosedError. Cancelled: waits for the call to end, then
        goes on cancelling.
        """
        delays = self.retry.delays()
        while True:
            try:
                return await self._call_once(function, what)
            except CertificateError:
                raise
            except ServerConnectionError as error:
                delay = next(delays, None) if again else None
                if delay is None:
                    raise
                _logger.warning("vsphere_retried", call=what, delay_s=round(delay, 3), reason=str(error))
                await asyncio.sleep(delay)

    async def _call_once(self, function: Callable[[], T], what: str) -> T:
        logins = self._logins
        self.content  # noqa: B018  (it raises ClosedError)
        work = partial(translated, function, what)
        try:
            return await _threads.run(work, limiter=self._limiter)
        except SessionEndedError as error:
            await self._log_in_again(logins, error)
        return await _threads.run(work, limiter=self._limiter)

    async def task(
        self,
        start: Callable[[], Managed],
        *,
        what: str,
        began: Callable[[str], Awaitable[object]] | None = None,
        ended: Callable[[Managed], Awaitable[object]] | None = None,
    ) -> Managed:
        """Start a task by ``start``, wait for its end, and return its result. Repeated while another is in progress.

        ``began`` is given the task's identifier, ``ended`` its result: what must be noted of it although the caller is
        cancelled. Cancelled while the task runs: it is not cancelled on the server, where half a snapshot or half a
        consolidation is worse than a whole one; it is waited for, then the cancellation goes on.

        Raises as ``call``; FaultError with the fault that the task failed of.
        """
        delays = self.retry.delays()
        while True:
            try:
                return await to_its_end(self._task_once(start, what, began, ended))
            except FaultError as error:
                delay = next(delays, None) if error.fault in IN_PROGRESS else None
                if delay is None:
                    raise
                _logger.info("task_in_progress", call=what, delay_s=round(delay, 3), effect="asked again later")
                await asyncio.sleep(delay)

    async def _task_once(
        self,
        start: Callable[[], Managed],
        what: str,
        began: Callable[[str], Awaitable[object]] | None,
        ended: Callable[[Managed], Awaitable[object]] | None,
    ) -> Managed:
        identifier = await self.call(lambda: str(start()._moId), what=what, again=False)  # noqa: SLF001
        if began is not None:
            await began(identifier)
        result = await self._tasks.outcome(identifier, what)
        if ended is not None:
            await ended(result)
        return result

    async def _task_infos(self, tasks: list[str]) -> dict[str, Managed]:
        things = [self.managed(vim.Task, task) for task in tasks]
        return await self.call(lambda: values_of(self.content, things, "info"), what=f"look at {', '.join(tasks)}")

    async def outcome(self, task: str, *, what: str) -> Managed:
        """Wait for a task that was started before, by its identifier, and return its result. Raises as ``task``."""
        return await to_its_end(self._tasks.outcome(task, what))

    async def read_file(self, path: str, datacenter: str, *, limit: int) -> bytes:
        """Return a file of a datastore, as ``[ds1] vm/vm.vmx``; ``datacenter`` is its inventory path, ``limit`` bytes.

        Raises FaultError (missing, not readable, larger than ``limit``), ServerConnectionError.
        """
        url = _files.url_of(path, datacenter)
        return await self.call(lambda: _files.fetch(self._stub, self._certificate, url, limit), what=f"read {path}")
