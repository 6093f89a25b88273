"""Checkpoints that a kill cannot break."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ...fileio import write_atomic


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written whole or not at all."""

    def put(self, obj: bytes, filepath) -> None:
        """Write bytes to a file.

        Args:
            obj (bytes): The content.
            filepath (str | Path): The file.
        """
        write_atomic(filepath, obj)

    def put_text(self, obj: str, filepath, encoding: str = 'utf-8') -> None:
        """Write text to a file.

        Args:
            obj (str): The content.
            filepath (str | Path): The file.
            encoding (str): Its encoding.
        """
        write_atomic(filepath, obj.encode(encoding))


register_backend('mmovsam_atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, safe against a kill at any moment.

    A checkpoint gets its name when it is complete, `last_checkpoint` points to it after that,
    and only then are outdated ones removed; MMEngine's own hook does these the other way round.

    Args:
        backend_args (dict | None): Where to write, as in `CheckpointHook`; local files by
            default.
        **kwargs: Those of `CheckpointHook`.
    """

    def __init__(self, *args, backend_args=None, **kwargs):
        remote = '://' in str(kwargs.get('out_dir') or '')
        if backend_args is None and kwargs.get('file_client_args') is None and not remote:
            backend_args = dict(backend='mmovsam_atomic')
        super().__init__(*args, backend_args=backend_args, **kwargs)

    def before_train(self, runner) -> None:
        """Prepare the output folder; remove what an earlier kill left unfinished there.

        Args:
            runner (Runner): The runner of the training.
        """
        super().before_train(runner)
        if is_main_process() and isinstance(self.file_backend, AtomicBackend):
            for leftover in Path(self.out_dir).glob('.*.pth.*.tmp'):
                leftover.unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner, step, meta):
        outdated = []
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            kept = [*self.keep_ckpt_ids, step]
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.append(step)  # a deque of that length
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        write_atomic(Path(runner.work_dir) / 'last_checkpoint', self.last_ckpt)
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
