"""Where the data steps run: the Beam options of the engine."""


def direct_runner_args() -> list[str]:
    """Returns the options of Beam's own runner, in this process.

    One process is the fastest at this size: each further worker would first spend half a minute on imports. Beam may
    otherwise hand over to Prism, a binary that it downloads at run time. Without an image for workers, which this
    runner never looks at, TFX would pack its own sources for them anew in each step, which takes seconds.
    """
    return [
        "--runner=DirectRunner",
        "--direct_running_mode=in_memory",
        "--direct_num_workers=1",
        "--sdk_container_image=none",
    ]
