"""Checkpoints that a kill, a power cut or a full disk cannot break."""

import shutil
from pathlib import Path, PureWindowsPath

from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ...fileio import write_atomic
from ..processes import unwrap


class AtomicBackend(LocalBackend):
    """MMEngine's `LocalBackend` with atomic writes."""

    def put(self, obj: bytes, filepath) -> None:
        write_atomic(filepath, obj, durable=True)

    def put_text(self, obj: str, filepath, encoding: str = 'utf-8') -> None:
        write_atomic(filepath, obj.encode(encoding), durable=True)


register_backend('mmovsam_atomic', AtomicBackend, force=True)


def last_checkpoint(work_dir):
    """Path of the checkpoint to resume from, or None.

    MMEngine notes its absolute path. The file of that name in the folder itself has priority, as
    the folder may have been moved or copied.
    """
    pointer = Path(work_dir, 'last_checkpoint')
    if not pointer.is_file():
        return None
    path = pointer.read_text().strip()
    local = pointer.with_name(PureWindowsPath(path).name)  # splits at both kinds of slashes
    return str(local) if local.is_file() else path


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, safe against a kill at any moment.

    A checkpoint is renamed when it is complete, then `last_checkpoint` points to it, and only then
    are outdated ones removed (MMEngine's own hook has the opposite order); likewise for the best
    ones (`save_best`). Gradients that are still being accumulated are part of the checkpoint.
    Arguments are those of `CheckpointHook`.
    """

    def __init__(self, *args, backend_args=None, **kwargs):
        remote = '://' in str(kwargs.get('out_dir') or '')
        if backend_args is None and kwargs.get('file_client_args') is None and not remote:
            backend_args = dict(backend='mmovsam_atomic')
        super().__init__(*args, backend_args=backend_args, **kwargs)
        self._gradients = {}  # of the loaded checkpoint

    def before_run(self, runner) -> None:
        """Resume from the checkpoint in the work folder, not from MMEngine's noted path."""
        if runner._resume and runner._load_from is None:
            runner._load_from = last_checkpoint(runner.work_dir)

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self._outdated = []
        self._remove, self.file_backend.remove = self.file_backend.remove, self._outdated.append
        if is_main_process() and isinstance(self.file_backend, AtomicBackend):
            # temporary files of a killed run
            for pattern in ('.*.pth.*.tmp', '.last_checkpoint.*.tmp'):
                for leftover in Path(self.out_dir).glob(pattern):
                    leftover.unlink(missing_ok=True)
        if runner.iter > 0:  # resumed, not just loaded
            for name, parameter in unwrap(runner.model).named_parameters():
                if name in self._gradients:
                    parameter.grad = self._gradients[name].to(parameter)
        self._gradients = {}

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        wrapper = runner.optim_wrapper
        if getattr(wrapper, '_accumulative_counts', 1) > 1 and not wrapper.should_update():
            gradients = {  # not applied yet
                name: parameter.grad.detach().clone()
                for name, parameter in unwrap(runner.model).named_parameters()
                if parameter.grad is not None
            }
            for gradient in gradients.values():
                all_reduce(gradient, 'mean')  # over the samples of all processes
            checkpoint['gradients'] = {name: grad.cpu() for name, grad in gradients.items()}

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        self._gradients = checkpoint.get('gradients', {})

    def _save_checkpoint_with_step(self, runner, step, meta):
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            steps = [*self.keep_ckpt_ids, step]
            names = map(self.filename_tmpl.format, steps[: -self.max_keep_ckpts])
            self._outdated += [self.file_backend.join_path(self.out_dir, name) for name in names]
            self.keep_ckpt_ids.append(step)  # a deque of that length
            # includes the outdated ones: if killed now, the resumed training removes them
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        failure = None
        try:
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
            if is_main_process():
                pointer = Path(runner.work_dir) / 'last_checkpoint'
                write_atomic(pointer, self.last_ckpt, durable=True)
        except OSError as error:
            failure = self._explain(runner, self.last_ckpt, error)
        failures = [text for text in all_gather_object(failure) if text]
        if failures:
            raise OSError(failures[0])  # in all processes, so that none waits for another
        self._remove_outdated()

    def _save_best_checkpoint(self, runner, metrics):
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            if error.errno is None:  # already explained
                raise
            raise OSError(self._explain(runner, 'of the best weights', error)) from error
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        while self._outdated:
            path = self._outdated.pop()
            if is_main_process() and self.file_backend.isfile(path):
                self._remove(path)

    def _explain(self, runner, checkpoint, error) -> str:
        """An error message with the free space and the last complete checkpoint."""
        free_space, advice = '', 'There is no earlier one.'
        if isinstance(self.file_backend, LocalBackend):
            free_space = f' ({shutil.disk_usage(self.out_dir).free / 2**20:,.0f} MiB are free)'
        last = Path(runner.work_dir) / 'last_checkpoint'
        if last.is_file():
            advice = (
                f'{last.read_text()} is complete: when there is room, the same command with '
                '--resume goes on from it.'
            )
        return (
            f'The checkpoint {checkpoint} could not be written: {error.strerror or error}'
            f'{free_space}. {advice}'
        )
