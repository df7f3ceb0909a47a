"""The QMP shell: lines that people type, to QMP commands; replies and events, to what people read."""
