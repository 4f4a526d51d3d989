"""SVM, GMM and their relatives on functionals and frames, searched in processes through joblib."""
