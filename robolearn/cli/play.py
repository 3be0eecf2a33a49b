"""Watch a trained policy.

  robolearn play                                   the newest run
  robolearn play policies/a1_velocity_flat --command 0.8,0,0
  robolearn play runs/2026-... --viewer video --out walk.mp4

With a display, MuJoCo's window opens; without one but with a terminal, a page in the browser; else a video is written.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.cli.common import (
    add_run_argument,
    add_set_argument,
    add_threads_argument,
    clear_faults,
    place,
)
from robolearn.config import ConfigError, parse_settings

if TYPE_CHECKING:
    from robolearn.evaluate.rollout import Schedule
    from robolearn.rl.networks import ActorCritic
    from robolearn.run_folder import Run
    from sim.environment import TaskEnv


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_argument(parser)
    parser.add_argument("--viewer", choices=("auto", "native", "browser", "video"), default="auto")
    parser.add_argument("--out", metavar="FILE", help="video file, .mp4 or .gif (default: walk.mp4 in the run folder)")
    parser.add_argument("--command", metavar="VX,VY,WZ", help="command to hold, in m/s, m/s and rad/s")
    add_set_argument(parser)
    parser.add_argument("--seconds", type=float, metavar="S", help="how long to play (default: 10 for a video)")
    parser.add_argument("--robot", metavar="R", help="run the policy on another robot with the same joints")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the randomisation")
    parser.add_argument("--width", type=int, default=854, metavar="PX", help="width of the video (16:9)")
    parser.add_argument("--sheet", metavar="FILE", help="also write frames of the video side by side, as PNG")
    add_threads_argument(parser)


def parse_command(text: str) -> tuple[float, float, float]:
    """Read ``"0.5,0,0.2"``.

    Raises:
        ConfigError: not three numbers.
    """
    try:
        vx, vy, wz = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--command {text}: expected three numbers VX,VY,WZ, such as 0.5,0,0.2") from None
    return vx, vy, wz


def run(args: argparse.Namespace) -> int:
    """Play a policy."""
    with clear_faults():
        return _play(args)


def _play(args: argparse.Namespace) -> int:
    from robolearn.evaluate import viewers
    from robolearn.evaluate.rollout import quiet
    from robolearn.experiment import make_env
    from robolearn.rl.checkpoint import load_policy
    from robolearn.run_folder import find_run

    command = parse_command(args.command) if args.command else None
    settings = parse_settings(args.set)
    viewer = viewers.choose("video" if args.out and args.viewer == "auto" else args.viewer)
    found = find_run(args.run)
    config = place(quiet(found.config), "cpu", args.threads)
    if args.robot:
        config = dataclasses.replace(config, robot=args.robot)
    policy = load_policy(found.checkpoint)
    env = make_env(config, num_envs=1, seed=args.seed)
    check_fit(policy, env, found)
    try:
        env.settings.fix(env.settings.complete(settings))
        if viewer == "video":
            schedule = None if command is None else [(args.seconds or 10.0, command)]
            film(args, found, env, policy, schedule)
            return 0
        session = viewers.Session(env, policy, command)
        show = viewers.show_native if viewer == "native" else viewers.show_browser
        try:
            show(session, args.seconds)
        except KeyboardInterrupt:
            print()
        return 0
    finally:
        env.close()


def check_fit(policy: ActorCritic, env: TaskEnv, found: Run) -> None:
    """Refuse a policy whose inputs or outputs do not fit the environment.

    Raises:
        ConfigError: they do not.
    """
    group = policy.config.actor_group
    wanted, given = policy.obs_dims[group], env.obs_dims.get(group)
    if (wanted, policy.num_actions) != (given, env.num_actions):
        raise ConfigError(
            f"{found.checkpoint}: the policy maps {wanted} observations to {policy.num_actions} actions, but this "
            f"robot and task have {given} and {env.num_actions}"
        )


def film(
    args: argparse.Namespace, found: Run, env: TaskEnv, policy: ActorCritic, schedule: Schedule | None = None
) -> Path:
    """Record the policy and write the video; return its path."""
    from robolearn.evaluate import video
    from robolearn.evaluate.rollout import TOUR, cut, record, within

    path = Path(args.out) if args.out else found.folder / "walk.mp4"
    if path.suffix not in (".mp4", ".gif"):
        raise ConfigError(f"--out {path}: a video must end in .mp4 or .gif")
    if args.width < 160:
        raise ConfigError(f"--width {args.width}: must be at least 160 pixels")
    chosen = schedule if schedule is not None else within(cut(TOUR, args.seconds), env.task.commands)
    recorded = record(env, policy, chosen, found.config.name)
    view = video.View(width=args.width // 2 * 2, height=args.width * 9 // 32 * 2)
    if path.suffix == ".gif":
        view = dataclasses.replace(view, fps=12)
    step = video.stride(recorded, view)
    fps = 1 / (step * recorded.dt)
    kept: list[Any] = []
    every = max(1, len(recorded.qpos) // 8)

    def images() -> video.Images:
        for i, image in enumerate(video.frames(env.scene.display_model(), recorded, view)):
            if args.sheet and i * step // every >= len(kept):
                kept.append(image)
            yield image

    count = video.write_video(path, images(), fps)
    fell = f", {recorded.falls} falls" if recorded.falls else ""
    print(f"{path}: {count / fps:.1f} s of video{fell}")
    if args.sheet:
        video.contact_sheet(kept[:8], args.sheet)
        print(args.sheet)
    return path
