"""The training loop: collect a roll-out, learn from it, report, save; stop cleanly and resume exactly."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor

from robolearn.rl.checkpoint import (
    CheckpointError,
    checkpoint_path,
    list_checkpoints,
    load_module,
    read_checkpoint,
    write_checkpoint,
)
from robolearn.rl.config import RunnerConfig
from robolearn.rl.networks import ActorCritic
from robolearn.rl.ppo import PPO
from robolearn.rl.seeding import random_state, set_random_state
from robolearn.rl.storage import RolloutStorage
from sim.interface import StepResult, VecEnv


class DivergenceError(RuntimeError):
    """The simulation or the learning produces non-finite numbers; going on would be a waste."""


class Stateful(Protocol):
    """Anything else that a checkpoint must hold, such as a Lagrange multiplier."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""


class Method(Stateful, Protocol):
    """A method built around PPO: it may change each roll-out, and learns after each update.

    Attributes:
        cost_names: the environment's costs that it wants as streams, in order.
        cost_scale: (K,) factors on them, so that critics learn numbers around 1.
        extra_groups: observation groups that it needs in the roll-out beside those that the policy reads.
    """

    cost_names: tuple[str, ...]
    cost_scale: tuple[float, ...]
    extra_groups: tuple[str, ...]

    def on_rollout(self, storage: RolloutStorage) -> None:
        """Look at a full roll-out, or change it, before advantages are estimated."""

    def on_update(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Learn from the metrics of the iteration after PPO's update; return further ones."""

    def local_state_dict(self) -> dict[str, Any]:
        """What differs between processes."""

    def load_local_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``local_state_dict()``."""


@dataclass(frozen=True)
class TrainResult:
    """How ``OnPolicyRunner.learn`` ended.

    Attributes:
        iteration: iterations done since the start of the run, before any resume included.
        interrupted: whether a signal (Ctrl-C) stopped it.
        out_of_time: whether ``max_seconds`` stopped it.
        checkpoint: the last checkpoint written, if any.
    """

    iteration: int
    interrupted: bool
    out_of_time: bool
    checkpoint: Path | None


class _StopSignal:
    """While entered, the first SIGINT or SIGTERM only sets ``requested``; the second acts as it always does."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


class _LogMeter:
    """Means of the scalars in ``StepResult.log``, read from the device once per iteration."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], list[Tensor]] = {}
        self._floats: dict[str, list[float]] = {}

    def add(self, log: Mapping[str, float | Tensor]) -> None:
        tensors = {name: value for name, value in log.items() if isinstance(value, Tensor)}
        if tensors:
            row = torch.stack([value.detach().float() for value in tensors.values()])
            self._rows.setdefault(tuple(tensors), []).append(row)
        for name, value in log.items():
            if not isinstance(value, Tensor):
                self._floats.setdefault(name, []).append(float(value))

    def means(self) -> dict[str, float]:
        """Return the mean of each name over the steps in which it was a finite number."""
        values = {name: list(items) for name, items in self._floats.items()}
        for names, rows in self._rows.items():
            for name, column in zip(names, torch.stack(rows, 1).tolist(), strict=True):
                values.setdefault(name, []).extend(column)
        finite = {name: [x for x in items if abs(x) < float("inf")] for name, items in values.items()}
        return {name: sum(items) / len(items) for name, items in finite.items() if items}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: the tensors of a roll-out are small, and the simulator needs the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class OnPolicyRunner:
    """Trains a policy in an environment with PPO.

    Attributes:
        iteration: iterations done.
        total_steps: environment steps done, over all environments and processes.
        storage: the last roll-out.
    """

    def __init__(
        self,
        env: VecEnv,
        policy: ActorCritic,
        ppo: PPO,
        config: RunnerConfig | None = None,
        *,
        folder: str | Path | None = None,
        method: Method | None = None,
        extra_states: Mapping[str, Stateful] | None = None,
        meta: Mapping[str, Any] | None = None,
        extra_groups: tuple[str, ...] = (),
    ) -> None:
        """Allocate the roll-out; nothing is simulated yet.

        Args:
            env: the environment, on the policy's device.
            policy: the networks that ``ppo`` trains.
            ppo: the update.
            config: settings of the loop.
            folder: where ``learn`` puts checkpoints; none are written without it.
            method: what is built around PPO; its state is in checkpoints too.
            extra_states: further objects that checkpoints hold, by name.
            meta: plain values that describe the run (robot, task, ...), kept in checkpoints as they are.
            extra_groups: observation groups kept in the roll-out beside those that the policy reads.

        Raises:
            ValueError: the policy was made for other costs than the environment's.
        """
        names = env.cost_names if method is None else method.cost_names
        if policy.num_costs not in (0, len(names)) or (method is not None and policy.num_costs != len(names)):
            owner = "the environment has" if method is None else "the method wants"
            ignore = ", or with 0 to ignore them" if method is None else ""
            raise ValueError(
                f"num_costs: the policy values {policy.num_costs} costs, {owner} {len(names)} ({', '.join(names)}); "
                f"make the policy with that number{ignore}"
            )
        self.env, self.policy, self.ppo = env, policy, ppo
        self.config = config or RunnerConfig()
        self.group = ppo.group
        self.folder = Path(folder) if folder is not None else None
        self.method = method
        self.extra_states, self.meta = dict(extra_states or {}), dict(meta or {})
        if method is not None:
            self.extra_states["method"] = method
        columns = [env.cost_names.index(name) for name in names]
        self._cost_columns = torch.tensor(columns, dtype=torch.int64, device=env.device)
        self._cost_scale = torch.tensor(method.cost_scale if method else [1.0] * len(names), device=env.device)
        self.iteration = 0
        self.total_steps = 0
        wanted = (*policy.groups, *extra_groups, *(method.extra_groups if method else ()))
        groups = {name: env.obs_dims[name] for name in dict.fromkeys(wanted)}
        self.storage = RolloutStorage(
            self.config.steps_per_env,
            env.num_envs,
            groups,
            env.num_actions,
            policy.num_costs,
            policy.memory_size,
            env.device,
        )
        self._obs: dict[str, Tensor] | None = None
        self._memory = policy.initial_memory(env.num_envs)
        self._starts = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self._episode_return = torch.zeros(env.num_envs, device=env.device)
        self._episode_length = torch.zeros(env.num_envs, device=env.device)
        self._finished: deque[tuple[float, float, float]] = deque()

    # -- the loop --------------------------------------------------------------------------------------------------

    def learn(
        self, iterations: int | None = None, on_iteration: Callable[[dict[str, float]], None] | None = None
    ) -> TrainResult:
        """Train until ``iterations`` iterations are done, a signal comes, or the time is up.

        The first SIGINT or SIGTERM ends the loop after the running iteration, with a checkpoint from which training
        resumes exactly; a second one interrupts at once and leaves the checkpoints written before.

        Args:
            iterations: iterations of the whole run, those before a resume included; default: the configuration's.
            on_iteration: called with the metrics of each iteration (in every process; write files in rank 0 only).

        Raises:
            DivergenceError: too many invalid transitions, or no update with a finite gradient; a checkpoint is left.
            CheckpointError: the last checkpoint could not be written.
        """
        goal = self.config.iterations if iterations is None else iterations
        began, first = time.perf_counter(), self.iteration
        written: Path | None = None
        interrupted = out_of_time = False
        with _StopSignal() as stop:
            if self._obs is None:
                self._obs = self.env.reset()
            if not bool(self.policy.actor_norm.count) and self.policy.config.normalize and first < goal:
                self._warm_up()
            while self.iteration < goal and not interrupted and not out_of_time:
                metrics = self._iterate(goal)
                elapsed = time.perf_counter() - began
                done = self.iteration - first
                metrics["time/elapsed_s"] = elapsed
                metrics["time/left_s"] = elapsed / done * (goal - self.iteration)
                if on_iteration is not None:
                    on_iteration(metrics)
                limit = self.config.max_seconds
                interrupted = self.group.any(stop.requested, self.env.device)
                out_of_time = self.group.any(limit is not None and elapsed >= limit, self.env.device)
                last = interrupted or out_of_time or self.iteration >= goal
                if self.folder is not None and (last or self.iteration % self.config.checkpoint_every == 0):
                    written = self._checkpoint(last) or written
        return TrainResult(self.iteration, interrupted, out_of_time, written)

    def _warm_up(self) -> None:
        """Fill the normalisers with one roll-out: learning before would use numbers of another scale."""
        self.collect()
        self._update_normalizers()

    def _iterate(self, goal: int) -> dict[str, float]:
        start = time.perf_counter()
        metrics = self.collect()
        self._check_invalid(metrics["train/invalid_share"])
        collected = self._now()
        metrics.update(self.ppo.update(self.storage, self.iteration / goal))
        if metrics["ppo/skipped_share"] >= 1.0:
            self._diverged("no minibatch of this iteration had a finite gradient")
        if self.method is not None:
            metrics.update(self.method.on_update(metrics))
        self._update_normalizers()
        self.iteration += 1
        end = self._now()
        samples = self.storage.num_samples * self.group.size
        metrics.update(
            {
                "train/iteration": float(self.iteration),
                "train/total_steps": float(self.total_steps),
                "time/collect_s": collected - start,
                "time/update_s": end - collected,
                "time/fps": samples / (end - start),
            }
        )
        return metrics

    def _now(self) -> float:
        if self.storage.memory.is_cuda:
            torch.cuda.synchronize(self.storage.memory.device)
        return time.perf_counter()

    @torch.no_grad()
    @_one_thread()
    def collect(self) -> dict[str, float]:
        """Fill the storage with T steps in every environment and estimate the advantages; return metrics."""
        env, policy, storage = self.env, self.policy, self.storage
        obs = env.reset() if self._obs is None else self._obs
        logs = _LogMeter()
        # Sums of: reward, invalid transitions, return, length and number of finished episodes, then each cost.
        sums = torch.zeros(5 + len(env.cost_names), dtype=torch.float64, device=env.device)
        storage.memory.copy_(self._memory)
        for t in range(storage.steps):
            decision = policy.act(obs, self._memory, self.ppo.generator)
            storage.record_decision(t, obs, decision, self._starts)
            result = env.step(decision.actions)
            final_values = None
            if result.final_ids.numel():
                memory = decision.memory.index_select(0, result.final_ids)
                final_values = policy.values(result.final_obs, memory)
            storage.record_result(t, result, self._costs(result), final_values)
            self._count(result, sums)
            logs.add(result.log)
            self._memory = decision.memory * (~self._starts).unsqueeze(-1) if policy.memory_size else decision.memory
            obs = result.obs
        sums[0] += storage.rewards[..., 0].sum()
        sums[1] += (~storage.valid).sum()
        if self.method is not None:
            self.method.on_rollout(storage)
        storage.finish(policy.values(obs, self._memory), self.ppo.gammas, self.ppo.lams)
        self._obs = obs
        self.total_steps += storage.num_samples * self.group.size
        return self._collect_metrics(self.group.sum_(sums).tolist(), logs)

    def _costs(self, result: StepResult) -> Tensor:
        """Return the costs (N, K) that are learned from."""
        if self.method is None:
            return result.costs
        return result.costs.index_select(1, self._cost_columns) * self._cost_scale

    def _count(self, result: StepResult, sums: Tensor) -> None:
        """Advance the running episodes by one step."""
        self._episode_return += result.reward
        self._episode_length += 1.0
        ended = result.terminated | result.truncated | ~result.valid
        if result.final_ids.numel():
            rows = torch.stack((self._episode_return, self._episode_length, torch.ones_like(self._episode_length)))
            sums[2:5] += (rows * result.valid).index_select(1, result.final_ids).sum(1)
        if result.costs.shape[-1]:
            sums[5:] += result.costs.sum(0)
        self._episode_return.masked_fill_(ended, 0.0)
        self._episode_length.masked_fill_(ended, 0.0)
        self._starts = ended

    def _collect_metrics(self, sums: list[float], logs: _LogMeter) -> dict[str, float]:
        samples = self.storage.num_samples * self.group.size
        reward, invalid, returns, lengths, episodes, *costs = sums
        if episodes:
            self._finished.append((returns, lengths, episodes))
        window = self.config.episode_window
        while self._finished and sum(item[2] for item in self._finished) - self._finished[0][2] >= window:
            self._finished.popleft()
        metrics = {
            "train/mean_step_reward": reward / samples,
            "train/invalid_share": invalid / samples,
            "train/episodes": episodes,
        }
        if self._finished:
            count = sum(item[2] for item in self._finished)
            metrics["train/mean_reward"] = sum(item[0] for item in self._finished) / count
            metrics["train/mean_episode_length"] = sum(item[1] for item in self._finished) / count
        for name, cost in zip(self.env.cost_names, costs, strict=True):
            metrics[f"cost/{name}"] = cost / samples
        metrics.update({f"env/{name}": value for name, value in logs.means().items()})
        return metrics

    @torch.no_grad()
    def _update_normalizers(self) -> None:
        policy = self.policy
        pairs = ((policy.actor_norm, policy.config.actor_group), (policy.critic_norm, policy.config.critic_group))
        for norm, name in pairs:
            if not norm.frozen:
                for statistics in self.group.gather(norm.statistics(self.storage.obs[name])):
                    norm.merge(statistics)

    def _check_invalid(self, share: float) -> None:
        if share > self.config.max_invalid_share:
            self._diverged(
                f"{share:.2%} of the transitions were invalid (simulator state not finite), "
                f"more than max_invalid_share = {self.config.max_invalid_share:.2%}; "
                "use a smaller physics time step, softer gains or smaller random ranges"
            )

    def _diverged(self, why: str) -> None:
        saved = ""
        if self.folder is not None:
            saved = f" The policy as of iteration {self.iteration} is in {self._checkpoint(final=True)}"
        raise DivergenceError(f"iteration {self.iteration + 1}: {why}.{saved}")

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _checkpoint(self, final: bool) -> Path | None:
        """Save into the folder; a failure before the last iteration is only a warning: training is worth more."""
        assert self.folder is not None
        path = checkpoint_path(self.folder, self.iteration)
        try:
            self.save(path)
        except CheckpointError as error:
            if final:
                raise
            warnings.warn(f"training goes on without a checkpoint: {error}", RuntimeWarning, stacklevel=2)
            return None
        if self.config.keep_checkpoints and self.group.is_main:
            for old in list_checkpoints(self.folder)[self.config.keep_checkpoints :]:
                old.unlink(missing_ok=True)
        return path

    def _local_state(self) -> dict[str, Any]:
        """What differs between processes."""
        return {
            "env": self.env.state_dict(),
            "obs": self._obs,
            "memory": self._memory,
            "starts": self._starts,
            "episode_return": self._episode_return,
            "episode_length": self._episode_length,
            "random": random_state(self.ppo.generator),
            "method": {} if self.method is None else self.method.local_state_dict(),
        }

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that holds everything the future depends on (rank 0 writes, all processes must call).

        Raises:
            CheckpointError: it cannot be written; older files stay as they are.
        """
        processes = self.group.collect(self._local_state())
        if processes is None:
            return
        state = {
            "policy": {"spec": self.policy.spec(), "weights": self.policy.state_dict()},
            "frozen": [self.policy.actor_norm.frozen, self.policy.critic_norm.frozen],
            "ppo": self.ppo.state_dict(),
            "extra": {name: item.state_dict() for name, item in self.extra_states.items()},
            "counters": {"iteration": self.iteration, "total_steps": self.total_steps},
            "finished": list(self._finished),
            "processes": processes,
            "meta": self.meta,
        }
        write_checkpoint(path, state)

    def load(self, path: str | Path) -> None:
        """Continue from a checkpoint. With as many processes as wrote it, training goes on as if it had not stopped.

        With another number of processes or environments the learned state is taken over and new episodes start.

        Raises:
            CheckpointError: see ``read_checkpoint``; or it was written with other networks or extra states.
        """
        state = read_checkpoint(path)
        try:
            load_module(self.policy, state["policy"]["weights"], path, "policy")
            self.policy.actor_norm.freeze(state["frozen"][0])
            self.policy.critic_norm.freeze(state["frozen"][1])
            self.ppo.load_state_dict(state["ppo"])
            if set(state["extra"]) != set(self.extra_states):
                raise ValueError(f"it holds the extra states {sorted(state['extra'])}, not {sorted(self.extra_states)}")
            for name, item in self.extra_states.items():
                item.load_state_dict(state["extra"][name])
            self.iteration = state["counters"]["iteration"]
            self.total_steps = state["counters"]["total_steps"]
            self._finished = deque(tuple(item) for item in state["finished"])
            processes = state["processes"]
            same = len(processes) == self.group.size
            if same and processes[self.group.rank]["starts"].numel() == self.env.num_envs:
                self._load_local(processes[self.group.rank])
            else:
                warnings.warn(
                    f"{path}: written by {len(processes)} process(es) with {processes[0]['starts'].numel()} "
                    "environments each; new episodes start here",
                    RuntimeWarning,
                    stacklevel=2,
                )
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: does not fit this run ({type(error).__name__}: {error})") from error

    def _load_local(self, state: Mapping[str, Any]) -> None:
        device = self.env.device
        self.env.load_state_dict(state["env"])
        obs = state["obs"]
        self._obs = None if obs is None else {name: tensor.to(device) for name, tensor in obs.items()}
        for name in ("memory", "starts", "episode_return", "episode_length"):
            setattr(self, f"_{name}", state[name].to(device))
        set_random_state(state["random"], self.ppo.generator)
        if self.method is not None:
            self.method.load_local_state_dict(state["method"])
