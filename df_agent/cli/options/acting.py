"""Options of the commands in which a policy acts: evaluate, compare, collect, tune and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from df_agent.cli.options import Options, part
from df_agent.data.goal_spec import GoalSpec
from df_agent.options.ranges import Among, Count, Natural, NotNegative, Precision, Range


@dataclass(frozen=True)
class EvaluateOptions:
    """How a policy is evaluated.

    Attributes:
        env: gymnasium id of a goal-conditioned environment; "mypackage:Mine-v0" imports the module that registers it.
        maze: with env=maze2d or multi2d, a maze of your own: a file or rows, see docs/own-maze.md.
        episodes: how many are run.
        seed: decides where episodes start; tune on 1000 and above, report 0 and 1.
        num_envs: environments side by side; null: up to 128.
        max_steps: limit of an episode [control steps]; null: the environment's own.
        checkpoint: name, folder or Hub id of the weights, short for policy.checkpoint; null: those that ship for this
            environment.
        goal: where goals and success are found; null: as the checkpoint says, or a GoalEnv.
        timing_episodes: how many are run in one environment afterwards, to measure plan_ms_single and
            real_time_factor; 0: none.
        threads: how many the CPU computes with; null: as many as torch takes. Kept with the results.
        pictures: whether the report has pictures and a video.
        scenes: episodes whose video shows what MuJoCo draws beside the plans; not in the mazes, and not where there is
            no OpenGL.
        render: "human": watch on the screen, one environment at a time, without a report; null: do not.
        output_dir: where the report goes; null: outputs/evaluate/{env}-{policy}-seed{seed}, and a hash of changed
            options behind it.
    """

    env: str = "maze2d-large"
    maze: Any = None
    episodes: Count = 100
    seed: Natural = 0
    num_envs: Count | None = None
    max_steps: Count | None = None
    checkpoint: str | None = None
    goal: Options = part(GoalSpec, achieved=None, desired=None, success=None, appended=None)
    timing_episodes: Natural = 10
    threads: Count | None = None
    pictures: bool = True
    scenes: Natural = 3
    render: Annotated[str, Among("human")] | None = None
    output_dir: str | None = None


@dataclass(frozen=True)
class CompareOptions:
    """What is compared, on which starts, and what the report shows. {env} and {maze} are filled in.

    Attributes:
        env: gymnasium id, or a list of them.
        maze: with env=maze2d or multi2d, a maze of your own: a file or rows, see docs/own-maze.md.
        policies: names, see `df-agent list policies`; null: all of them.
        reference: the policy that the others are compared with; if it has no rows, the first that has. null: what
            usually acts in the environment, diffusion_forcing, or pixels where only pictures are seen.
        runs: more training runs by policy, e.g. {diffuser: [PATH, PATH]}; their rows are diffuser@1 and diffuser@2.
        changes: options by policy, over those of its file, e.g. {best_of_n: {policy: {best_of_n: {candidates: 32}}}}.
        episodes: how many are run from each seed.
        seeds: each decides where episodes start; tune on 1000 and above, report 0 and 1.
        slow_episodes: how many of the same episodes policies run whose file says slow: true.
        slow_seeds: how many of the seeds slow policies run, the first ones.
        timing_episodes: how many are run one at a time afterwards, for the latencies; 0: none.
        slow_timing_episodes: the same for slow policies.
        num_envs: episodes side by side, part of what rows are made with.
        max_steps: limit of an episode [control steps]; null: the environment's own.
        precision: "fp32", "bf16", or "auto": bf16 where the device has arithmetic for it; of policies that leave the
            choice, and kept with the rows.
        threads: how many the CPU computes with; null: as many as torch takes. Kept with the rows.
        refresh: true, or policies: run them anew.
        refresh_timing: the same for the latencies, say on an idle machine.
        adopt: true, or policies: go on from rows of other code or versions; run.json keeps what they were.
        name: what the comparison is called; null: the environments' names.
        output_dir: folder of the rows and the report; null: outputs/compare/{name}.
        report_only: write the report about the rows there are, run nothing.
        start_from: a folder with rows-ENV.csv: a comparison without rows yet begins with these.
        retrace: run what the report draws again where its path was not kept, as in rows from CSV.
        report_from: a folder with rows-ENV.csv: write the report about these.
        curves: by policy, a file with the success while it was trained, a line per validation; {maze} is filled in.
        tuning: file with a line per setting tried, from `df-agent tune`.
        videos: files that the report shows, by caption.
        film: film the reference's plans, if it is a Diffusion Forcing planner; once.
    """

    env: str | Sequence[str] = "maze2d-large"
    maze: Any = None
    policies: Sequence[str] | None = None
    reference: str | None = None
    runs: Mapping[str, Any] | None = None
    changes: Mapping[str, Any] | None = None
    episodes: Count = 200
    seeds: Sequence[Natural] = (0, 1)
    slow_episodes: Count = 50
    slow_seeds: Count = 1
    timing_episodes: Natural = 25
    slow_timing_episodes: Natural = 3
    num_envs: Count = 50
    max_steps: Count | None = None
    precision: Precision = "auto"
    threads: Count | None = None
    refresh: bool | Sequence[str] = False
    refresh_timing: bool | Sequence[str] = False
    adopt: bool | Sequence[str] = False
    name: str | None = None
    output_dir: str | None = None
    report_only: bool = False
    start_from: str | None = None
    retrace: bool = False
    report_from: str | None = None
    curves: Mapping[str, str] | None = field(
        default_factory=lambda: {
            "diffusion_forcing": "results/training/maze2d-{maze}.jsonl",
            **{
                name: f"results/training/maze2d-{{maze}}-{name}.jsonl"
                for name in ("diffuser", "gcbc", "gciql", "full_sequence", "sac_her")
            },
        }
    )
    tuning: str | None = "results/tuning.jsonl"
    videos: Mapping[str, str] | None = None
    film: bool = True


@dataclass(frozen=True)
class CollectOptions:
    """What is recorded, and how.

    Attributes:
        env: gymnasium id.
        maze: with env=maze2d or multi2d, a maze of your own: a file or rows, see docs/own-maze.md.
        policy: "demonstrator", that of the mazes or of Fetch; a name, see `df-agent list policies`; a file of
            Stable-Baselines3's; or "module:name", something that makes a policy when it is called.
        steps: control steps in all; null: a million, or as many as the set of OGBench's has.
        noise: standard deviation of the noise on the action, before it is clipped; null: 0.5 in the mazes, 0.2 of a
            Fetch demonstrator, none otherwise.
        waypoints: of the mazes' demonstrator. "dfs": as Minari's published sets; "shortest": as D4RL's.
        pixels: size of pictures to take beside the observations, e.g. 64; null: none.
        every: control steps from one picture to the next; null: 5 in the mazes, 1 elsewhere.
        walk: with pixels, in the mazes: control steps before the next trajectory begins elsewhere.
        wander: with pixels: share of the time spent on random actions, held for a while; null: 0.3.
        seed: decides starts and noise.
        dataset: id in the local Minari store; null: df-agent/{env}-{policy}-v0, with waypoints in the mazes.
        overwrite: replace a dataset of that id.
        pack: also write the trajectories to this .npz file.
    """

    env: str = "maze2d-large"
    maze: Any = None
    policy: str = "demonstrator"
    steps: Count | None = None
    noise: NotNegative | None = None
    waypoints: Annotated[str, Among("dfs", "shortest")] = "dfs"
    pixels: Count | None = None
    every: Count | None = None
    walk: Count = 2000
    wander: Annotated[float, Range(0, 1, open="right")] | None = None
    seed: Natural = 0
    dataset: str | None = None
    overwrite: bool = False
    pack: str | None = None


@dataclass(frozen=True)
class TuneOptions:
    """Which settings of a policy are tried.

    Attributes:
        env: gymnasium id.
        max_steps: limit of an episode [control steps]; null: the environment's own.
        checkpoint: name, folder or Hub id of weights in place of the policy's own; null: its own.
        grid: option of the policy -> values to try, in all combinations, e.g. 'grid={open_loop_horizon: [25, 50]}'.
        episodes: how many are run with each setting.
        seed: decides where episodes start, 1000 and above; 0 and 1 are for reports.
        output: a row per setting is appended to this file; one that is there is not run again.
    """

    env: str = "maze2d-large"
    max_steps: Count | None = None
    checkpoint: str | None = None
    grid: Mapping[str, Any] | None = None
    episodes: Count = 50
    seed: Annotated[int, Range(1000)] = 1000
    output: str = "results/tuning.jsonl"


@dataclass(frozen=True)
class RunOptions:
    """Several commands one after the other; what is there is kept.

    Attributes:
        env: gymnasium id.
        maze: with env=maze2d or multi2d, a maze of your own: a file or rows, see docs/own-maze.md.
        tasks: what is done, in this order.
        debug: short for train.debug.
        collect: what `df-agent collect` is told, as collect.KEY=VALUE, e.g. collect.steps=10000.
        train: what `df-agent train` is told, e.g. train.train.seed=1.
        evaluate: what `df-agent evaluate` is told, e.g. evaluate.episodes=5.
    """

    env: str = "maze2d-large"
    maze: Any = None
    tasks: Sequence[Annotated[str, Among("collect", "train", "evaluate")]] = ("collect", "train", "evaluate")
    debug: bool = False
    collect: Sequence[str] = ()
    train: Sequence[str] = ()
    evaluate: Sequence[str] = ()


@dataclass(frozen=True)
class ListOptions:
    """What is listed.

    Attributes:
        what: is listed; null: everything. It may be given alone, as in `df-agent list policies`.
    """

    what: Sequence[Annotated[str, Among("environments", "policies", "checkpoints", "datasets")]] | None = None
