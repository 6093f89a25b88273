// Lists to choose from and to edit. Gradio runs this for each, with its `element` and `trigger`.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-pick]');
  if (button) trigger('pick', { key: Number(button.dataset.pick) });
});
element.addEventListener('change', (event) => {
  const field = event.target;
  if (!field.dataset.rename) return;
  if (field.value.trim()) trigger('rename', { key: Number(field.dataset.rename), name: field.value });
  else field.value = field.defaultValue;
});
